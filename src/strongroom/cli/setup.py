"""``init``: a starter configuration and a local store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, SecretConflictError
from strongroom.value import SecretValue

from .environment import VARIABLE
from .options import Options, changing, pass_options
from .output import can_ask, report

KEKS = ("keyset", "os-keyring", "passphrase")
_TEXT = """\
# Made by `strongroom init`. This file names places and holds no secret: it may be committed.
default = "local"

[store.local]
url = {url}
"""


@click.command(short_help="make a starter configuration and a local store")
@click.option("--database", type=click.Path(), default="secrets.db", show_default=True, help="The new store.")
@click.option(
    "--kek", type=click.Choice(KEKS), help="Where its key encryption key lives; asked on a terminal."
)
@click.option("--keyset", type=click.Path(), help="The keyset file, outside the database's directory.")
@changing
@pass_options
def init(options: Options, database: str, kek: str | None, keyset: str | None) -> None:
    """Make strongroom.toml here and an encrypted store on this machine.

    The key encryption key lives in a keyset file only you can read (the choice of --yes), in the keyring of
    the operating system, or is derived from a passphrase in $STRONGROOM_PASSPHRASE. The choice is recorded in
    the database and is for good.
    """
    config, path = Path(options.config or "strongroom.toml"), Path(database).absolute()
    if config.exists():
        raise SecretConflictError(
            f"{config} exists already", operation="init", hint="edit it, or name another"
        )
    kek = kek or _choose(options)
    url, settings = f"local://{path}", _settings(kek, keyset)
    if not options.dry_run:
        _create(url, kek, settings, fresh=not path.exists())
        _write_new(config, _text(url, settings))
    done = "would make" if options.dry_run else "made"
    document = {"config": str(config), "database": str(path), "kek": kek, "dry_run": options.dry_run}
    report(options, document, f"{done} {config} and {path} (key: {kek}); next: strongroom put NAME")


def _choose(options: Options) -> str:
    if options.yes or options.dry_run or not can_ask():
        return "keyset"
    choice: str = click.prompt(
        "Where shall its key live?", type=click.Choice(KEKS), default="keyset", err=True
    )
    return choice


def _settings(kek: str, keyset: str | None) -> Settings:
    if keyset and kek != "keyset":
        raise InvalidRequestError("--keyset goes with --kek keyset", operation="init")
    options = {"keyset": str(Path(keyset).absolute())} if keyset else {}
    if kek != "passphrase":
        return Settings(options=options)
    if not os.environ.get(VARIABLE):
        raise InvalidRequestError("no passphrase", operation="init", hint=f"set ${VARIABLE}, here and later")
    return Settings(auth={"passphrase": SecretValue(os.environ[VARIABLE])})


def _create(url: str, kek: str, settings: Settings, *, fresh: bool) -> None:
    from strongroom.registry import open_backend

    backend = open_backend(f"{url}?create={kek}" if fresh else url, settings)
    try:
        backend.own_key()  # a wrong passphrase or a missing keyset is told now, not at the first put
    finally:
        backend.close()


def _text(url: str, settings: Settings) -> str:
    text = _TEXT.format(url=_toml(url))
    if settings.options:
        text += f"options = {{ keyset = {_toml(settings.options['keyset'])} }}\n"
    if settings.auth:
        text += f'auth = {{ passphrase = "env://{VARIABLE}" }}\n'
    return text


def _toml(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML's basic strings escape as JSON's do


def _write_new(path: Path, text: str) -> None:
    problem = None
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        raise InvalidRequestError(f"cannot write {path}: {problem}", operation="init")
