"""``inspect``: what the header of a message says, in words and without a key."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.envelope.suites import SUITES
from strongroom.envelope.survey import Survey, survey
from strongroom.errors import SecretStoreError
from strongroom.value import is_utf8

from .binary import source
from .failure import one_line
from .options import Options, common, configuration, pass_options
from .output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.config import Config, KeyEntry
    from strongroom.keys import KeyWrapper, WrappedKey

    Aliases = Sequence[str | None]

_ALGORITHM: Final = "AES-256-GCM, HKDF-SHA512, key commitment"
_RAW_AES: Final = b"\x00\x00\x00\x80\x00\x00\x00\x0c"
"""The lengths of tag and IV in bits and bytes, which with the IV follow the name of a raw AES key:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html."""


@click.command(short_help="say what a message says of itself; needs no key")
@click.argument("file", type=click.Path(), default="-")
@common
@pass_options
def inspect(options: Options, file: str) -> None:
    """Print what the message in FILE, or on stdin, says of itself: keys, context, size.

    Nothing is decrypted and no key is asked, so nothing is verified: whoever could write the file could write
    what is printed. Only decrypt tells whether it is true. A key of strongroom.toml is told by its alias, a
    keyring by its id: which keyring that is, only one of its roots could tell.
    """
    with source(file, buffered=True) as stream:
        found = survey(stream)
    aliases = _aliases(options, found.header.wrapped_keys)
    if options.json:
        print_json(_document(found, aliases))
        return
    for label, text in _words(found, aliases):
        click.echo(one_line(f"{label:<9} {text}"))


def _document(found: Survey, aliases: Aliases) -> dict[str, Any]:
    header = found.header
    named = zip(header.wrapped_keys, aliases, strict=True)
    return {
        "version": 2,
        "suite": f"0x{header.suite:04x}",
        "signed": SUITES[header.suite].signed,
        "message_id": header.message_id.hex(),
        "context": dict(header.context),
        "keys": [{"provider": key.provider_id, "key": key_name(key), "alias": alias} for key, alias in named],
        "frame_length": header.frame_length or None,
        "frames": found.frames,
        "size": found.size,
        "verified": False,
    }


def _words(found: Survey, aliases: Aliases) -> Iterator[tuple[str, str]]:
    header = found.header
    signature = ", ECDSA P-384 signature" if SUITES[header.suite].signed else "; not signed"
    yield "format", "AWS Encryption SDK message, version 2"
    yield "suite", f"0x{header.suite:04x}: {_ALGORITHM}{signature}"
    yield "id", header.message_id.hex()
    for key, value in header.context.items():
        yield "context", f"{key} = {value}"
    if not header.context:
        yield "context", "none"
    for wrapped, alias in zip(header.wrapped_keys, aliases, strict=True):
        yield "key", f"{wrapped.provider_id} {key_name(wrapped)}{f' ({alias} here)' if alias else ''}"
    yield "body", _body(found)
    yield "verified", "nothing: that takes one of the keys"


def _body(found: Survey) -> str:
    size = f"{found.size} bytes of plaintext"
    if not found.frames:
        return f"{size}, not framed"
    count = f"{found.frames} frame{'s' * (found.frames > 1)}"
    return f"{size} in {count} of at most {found.header.frame_length}"


def key_name(wrapped: WrappedKey) -> str:
    """What its provider calls the key that wrapped a data key; in hexadecimal if that is no text."""
    info = wrapped.key_info
    if info[-20:-12] == _RAW_AES:
        info = info[:-20]
    return info.decode() if is_utf8(info) else info.hex()


def _aliases(options: Options, wrapped_keys: Sequence[WrappedKey]) -> Aliases:
    """For each wrapped key the configured key that made it, judged by names alone."""
    config = configuration(options)
    with ExitStack() as opened:
        keys: dict[str, KeyWrapper | None] = {}
        return [_alias(config, wrapped, keys, opened) for wrapped in wrapped_keys]


def _alias(
    config: Config, wrapped: WrappedKey, keys: dict[str, KeyWrapper | None], opened: ExitStack
) -> str | None:
    for alias, entry in config.keys.items():
        # A kind that cannot have made it is not opened: that would load its SDK.
        if entry.url.partition(":")[0].removesuffix("-key") in wrapped.provider_id:
            if alias not in keys:
                keys[alias] = _opened(config, entry, opened)
            key = keys[alias]
            if key is not None and key.matches(wrapped):
                return alias
    return None


def _opened(config: Config, entry: KeyEntry, opened: ExitStack) -> KeyWrapper | None:
    from strongroom.config import reach
    from strongroom.registry import open_key

    try:
        key = open_key(entry.url, reach(entry, config))
    except SecretStoreError:  # what is not at hand, or signs, gives nothing away of who can open this
        return None
    opened.callback(key.close)
    return key
