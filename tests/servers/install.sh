#!/usr/bin/env bash
# Installs the Debian packages of debian.txt whose program is missing; does nothing, and needs no rights, if all are there.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
list="$(dirname "$0")/debian.txt"

missing=()
while read -r program packages; do
    [[ -z "$program" || "$program" == \#* ]] && continue
    compgen -G "$program" >/dev/null || command -v "$program" >/dev/null || read -ra missing <<<"${missing[*]} $packages"
done <"$list"
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "Ask an administrator for: apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
