"""``encrypt`` and ``decrypt``: files and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.envelope.atomic import PRIVATE
from strongroom.envelope.stream import decrypt_stream, encrypt_stream
from strongroom.errors import InvalidRequestError

from .bar import bar
from .binary import Screen, length_of, sink, source
from .keychain import key_option, opened_keys, pairs
from .options import Decorated, Options, common, pass_options
from .output import on_terminal, report

if TYPE_CHECKING:
    from strongroom.envelope.stream import Decrypted


def _message(command: Decorated) -> Decorated:
    """The options that both directions have."""
    for option in (
        click.option("--replace", is_flag=True, help="Write over OUT if it is there already."),
        click.option("-o", "--output", metavar="OUT", type=click.Path(), help="A file instead of stdout."),
        click.option("-c", "--context", multiple=True, metavar="NAME=VALUE", help="A pair of the context."),
        key_option("-k", "--key", "keys", text="A key or keyring."),
        click.argument("file", type=click.Path(), default="-"),
    ):
        command = option(command)
    return common(command)


@click.command(short_help="encrypt a file or a stream under one or several keys")
@_message
@click.option("--signed", is_flag=True, help="Add an ECDSA P-384 signature.")
@pass_options
def encrypt(
    options: Options,
    *,
    file: str,
    keys: tuple[str, ...],
    context: tuple[str, ...],
    output: str | None,
    replace: bool,
    signed: bool,
) -> None:
    """Encrypt FILE, or stdin, as an AWS Encryption SDK message that any one of the keys opens.

    -k names a key or a keyring of strongroom.toml, or a key's URL; more of them make more ways to open it.
    -c purpose=backup says what it is for: the pair stands in the message in clear, cannot be changed, and has
    to be said again to decrypt. The message goes to stdout, or to the file of -o, which appears once it is
    whole.
    """
    said = pairs(context)
    if _shares_screen(output):
        raise InvalidRequestError("a message is binary, and stdout a terminal", hint="add -o OUT, or pipe it")
    with (
        opened_keys(options, keys) as opened,
        source(file) as plain,
        sink(output, replace=replace, mode=getattr(plain, "permissions", PRIVATE)) as message,
        bar(options, "encrypting", length_of(plain), hidden=_shares_screen(output)) as done,
    ):
        length = encrypt_stream(
            plain, message, keys=list(opened.values()), context=said, signed=signed, progress=done
        )
    if output is not None:
        _tell(options, "encrypted", file, output, {"size": length})
        if file not in ("-", output) and not (options.quiet or options.json):
            click.echo(f"{file} still holds this in clear: remove it when you need it no more", err=True)


@click.command(short_help="decrypt a file or a stream")
@_message
@click.option("--reveal", is_flag=True, help="Allow the plaintext on a terminal.")
@pass_options
def decrypt(
    options: Options,
    *,
    file: str,
    keys: tuple[str, ...],
    context: tuple[str, ...],
    output: str | None,
    replace: bool,
    reveal: bool,
) -> None:
    """Decrypt the message in FILE, or on stdin, with any of the keys; -c says what it must say of itself.

    Every pair that it was encrypted with must be named (strongroom inspect prints them), or it is refused:
    else it could be swapped for another one under the same key. With -o the plaintext appears once all of it
    is verified, or not at all. On stdout each part comes out once it is verified: exit code 7 tells that what
    came before was cut short, so do not act on it before.
    """
    said = pairs(context)
    if _shares_screen(output) and not reveal:
        raise InvalidRequestError(
            "stdout is a terminal", hint="add --reveal to show the plaintext on it, -o OUT, or pipe it"
        )
    with (
        opened_keys(options, keys) as opened,
        source(file) as message,
        sink(output, replace=replace, mode=PRIVATE) as plain,
        bar(options, "decrypting", length_of(message), hidden=_shares_screen(output)) as done,
    ):
        shown = Screen(plain) if _shares_screen(output) else plain
        found = decrypt_stream(message, shown, keys=list(opened.values()), context=said, progress=done)
    if not options.quiet and not options.json:
        _warn(found)
    if output is not None:
        facts = {"size": found.length, "context": dict(found.context), "passed_over": list(found.passed_over)}
        _tell(options, "decrypted", file, output, facts)
    elif on_terminal():
        click.echo()


def _shares_screen(output: str | None) -> bool:
    return output is None and on_terminal()


def _warn(found: Decrypted) -> None:
    for key_id in found.passed_over:
        click.echo(f"strongroom: {key_id} should have opened it and did not; another key has", err=True)


def _tell(options: Options, done: str, file: str, output: str, facts: dict[str, Any]) -> None:
    name, size = "stdin" if file == "-" else file, facts["size"]
    line = f"{done} {name} to {output} ({size} bytes of plaintext)"
    report(options, {"file": file, "output": output, **facts}, line)
