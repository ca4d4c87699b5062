"""``render``: templates in every format, what each cannot hold, and files that appear whole."""

from __future__ import annotations

import base64
import configparser
import io
import json
import os
import shlex
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dotenv
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.cli import literals, rendering, templates
from strongroom.cli.options import Options
from strongroom.cli.templates import Template
from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in, plaintext
from tests.scale import NIGHTLY
from tests.unit.cli_support import Cli, Result

HARD = f"{CANARY} 'it\\s' \"$HOME\" ${{x}} `id` %s # ; \u2028\x85\U0001f511 \t\n<&>"


@pytest.fixture
def run() -> Iterator[Cli]:
    """The program on a store with secrets of each kind."""
    run = Cli()
    with run.store() as store:
        store.put("db/password", CANARY)
        store.put("db/login", {"user": "app", "password": f"{CANARY}-2", "ports": [1, 2]})
        store.put("hard", HARD)
        store.put("raw", b"\xff\x00" + CANARY.encode())
        yield run


def _render(run: Cli, folder: Path, text: str, name: str = "t.json.j2", *args: str) -> Result:
    (folder / name).write_text(text)
    return run("render", str(folder / name), *args)


def test_a_template_is_filled(run: Cli, tmp_path: Path) -> None:
    """Names, pointers, filters, loops; each expression is a whole value with its quotes."""
    text = """{
  "password": {{ secret("db/password") }},
  "url": {{ "postgres://" ~ secret("db/login", "/user") ~ ":" ~ secret("hard") | urlencode ~ "@db" }},
  "ports": [{% for port in [1, 2] %}{{ port }}{{ ", " | raw if not loop.last }}{% endfor %}],
  "key": {{ secret("raw") | base64 }}, "on": {{ true }}, "no": {{ none }},
  "text": "app-{{ secret("db/login", "/user") | raw }}{{ "-on" | raw if true }}!"
}
"""
    done = _render(run, tmp_path, text)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["password"] == CANARY
    assert document["url"].startswith("postgres://app:CANARY-")
    assert document["ports"] == [1, 2]
    assert base64.b64decode(document["key"]) == b"\xff\x00" + CANARY.encode()
    assert (document["on"], document["no"], document["text"]) == (True, None, "app-app-on!")
    assert done.out.endswith("}\n")


def test_a_password_stays_within_its_place_in_a_url(run: Cli, tmp_path: Path) -> None:
    """Also with a slash, which Jinja's own filter leaves as it is: the host would end there."""
    with run.store() as store:
        store.put("db/password", "a/b@c?d#e:f")
    text = (
        '{{ "postgres://app:" ~ secret("db/password") | urlencode ~ "@db/app?" ~ {"a": "b/c"} | urlencode }}'
    )
    done = _render(run, tmp_path, text, "t", "--format", "none")
    parts = urlsplit(done.out)
    assert (parts.hostname, unquote(parts.password or ""), parts.path) == ("db", "a/b@c?d#e:f", "/app")
    assert parts.query == "a=b%2Fc"


def test_references_name_other_stores(tmp_path: Path, run: Cli) -> None:
    """By alias; `--allow` narrows them."""
    config = tmp_path / "strongroom.toml"
    config.write_text(f'[store.prod]\nurl = "{run.url}"\n[store.other]\nurl = "memory://"\n')
    text = (
        '{{ secret("strongroom://prod/db/login#/user") }}{{ secret("strongroom://prod/db/login", "/user") }}'
    )
    allowed = ("--format", "none", "--config", str(config))
    assert _render(run, tmp_path, text, "t", *allowed).out == "appapp"
    refused = _render(run, tmp_path, text, "t", *allowed, "--allow", "other")
    assert refused.code == 8
    assert "not allowed" in refused.err


def _from_shell(text: str) -> str:
    return shlex.split(text.removeprefix("A="))[0]


def _from_ini(text: str) -> str:
    parser = configparser.ConfigParser()
    parser.read_string(f"[s]\n{text}")
    return parser["s"]["A"]


def _from_env(text: str) -> str:
    found = dotenv.dotenv_values(stream=io.StringIO(text))["A"]
    assert found is not None
    return found


READERS: dict[str, Callable[[str], str]] = {
    "env": _from_env,
    "ini": _from_ini,
    "json": lambda text: json.loads("{" + text.replace("A=", '"A":', 1) + "}")["A"],
    "none": lambda text: text.removeprefix("A="),
    "shell": _from_shell,
    "toml": lambda text: tomllib.loads(text)["A"],
    "yaml": lambda text: yaml.safe_load(text.replace("A=", "A: ", 1))["A"],
}
ALWAYS = ("json", "none", "toml", "yaml")

_hard = st.text(st.sampled_from("a'\"\\$`{}%#;= \t\n\r\x00\x1b\x7f\x85\u2028\ufeffé\U0001f511"), max_size=8)


@pytest.mark.parametrize("kind", sorted(literals.WRITERS))
@settings(max_examples=1000 if NIGHTLY else 25, deadline=None)
@given(value=_hard | st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_what_is_written_is_what_is_read(kind: str, value: str) -> None:
    """By a reader of that format, or it is refused; the formats with one meaning refuse nothing."""
    try:
        written = literals.write(kind)(value)
    except literals.Unwritable:
        assert kind not in ALWAYS
        return
    assert READERS[kind](f"A={written}\n".removesuffix("\n" if kind == "none" else "")) == value


@pytest.mark.parametrize(
    "value", ["a'b", "a b", "a$b", "it's", 'say "x"', "#x", "a\\nb", "", "pässword", "x=y"]
)
def test_a_variable_is_the_same_in_a_shell_and_in_a_file_of_variables(value: str) -> None:
    """What `.env` is written as can be sourced too."""
    written = literals.write("env")(value)
    assert _from_env(f"A={written}\n") == value
    script = f'A={written}\nprintf %s "$A"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode() == value


def test_a_shell_runs_nothing_of_a_value() -> None:
    """Whatever stands in it."""
    script = f'A={literals.write("shell")(HARD)}\nprintf %s "$A"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode() == HARD


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.json", '{"a": "{{ secret("db/password") }}"}', "write no quotes"),
        ("t.env", "A='{{ secret(\"db/password\") }}'", "write no quotes"),
        ("t.yaml", 'url: postgres://app:{{ secret("db/password") }}@db', "join texts inside"),
        ("t.json", '{"a": {{ secret("db/password") }}', "not json"),
        ("t.toml", 'a = {{ secret("db/password") }} b', "not toml"),
        ("t.yaml", 'a: {{ secret("db/password") }}\n\tb: 1', "not yaml"),
        ("t.json", "{{ secret(", "line 1"),
        ("t.json", "\n{{ nothing }}", "nothing"),
        ("t.json", "{{ lipsum() }}", "lipsum"),
        ("t.json", "\n\n{{ {}[secret('db/password')] }}", "line 3 of the template"),
        ("t.json", "{{ secret('db/password') + 1 }}", "TypeError"),
        ("t.json", "{{ ''.__class__.__mro__ }}", "line 1"),
        ("t.json", "{% include '/etc/passwd' %}", "line 1"),
        ("t.json", "{{ secret('raw') }}", "base64"),
        ("t.toml", "a = {{ none }}", "cannot hold"),
        ("t.env", "A={{ secret('hard') }}", "base64"),
        ("t.ini", "A={{ secret('hard') }}", "base64"),
        ("t.json", "{{ secret('no/such') }}", "no such secret"),
        ("t.json", "{{ secret('strongroom://prod') }}", "not a reference"),
        ("t.json", "{{ secret('NOT LEGAL') }}", "illegal"),
        ("t", "x", "--format"),
    ],
)
def test_what_cannot_be_rendered_is_told(run: Cli, tmp_path: Path, name: str, text: str, said: str) -> None:
    """With the line where there is one, and never with a value; nothing is written."""
    done = _render(run, tmp_path, text, name, "--out", str(tmp_path / f"out-{name}"), "--debug")
    assert done.code != 0
    assert said in done.err
    assert "bug" not in done.err
    assert not (tmp_path / f"out-{name}").exists()


def test_all_missing_secrets_are_told_at_once(run: Cli, tmp_path: Path) -> None:
    """Before anything is written."""
    done = _render(run, tmp_path, '[{{ secret("no/one") }}, {{ secret("no/two", "/x") }}]')
    assert done.code == 8
    assert "no/one" in done.err
    assert "no/two" in done.err


def test_nothing_of_a_value_stays_in_an_error() -> None:
    """Nor in its frames: whoever reports crashes prints those."""
    for text in (
        "{{ secret('x').nope }}",
        "{{ {}[secret('x')] }}",
        "{{ secret('x') | int(secret('x') + 1) }}",
    ):
        with pytest.raises(SecretStoreError) as failed:
            Template(text, "json").render(lambda *_: SecretValue(CANARY))
        assert_no_canary_in(failed.value)
    with pytest.raises(InvalidRequestError) as failed:
        Template("{{ secret('x') }} x", "json").render(lambda *_: SecretValue(CANARY))
    assert_no_canary_in(failed.value)


def test_a_file_appears_whole_and_private(run: Cli, tmp_path: Path) -> None:
    """0600 whatever the umask, in the place of an old one; a template that fails leaves the old one."""
    out = plaintext(tmp_path / "app.env", "render writes values where it is told to")
    before = os.umask(0)
    try:
        assert _render(run, tmp_path, "A={{ secret('db/password') }}\n", "t.j2", "--out", str(out)).code == 0
    finally:
        os.umask(before)
    assert out.read_text() == f"A={CANARY}\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert _render(run, tmp_path, "A={{ secret('no/such') }}\n", "t.j2", "--out", str(out)).code == 8
    assert out.read_text() == f"A={CANARY}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.env", "t.j2"]


def test_a_terminal_shows_secrets_only_with_reveal(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `get`."""
    monkeypatch.setattr(rendering, "on_terminal", lambda: True)
    text = "{{ secret('db/password') }}"
    refused = _render(run, tmp_path, text, "t.json")
    assert (refused.code, refused.out) == (2, "")
    assert CANARY in _render(run, tmp_path, text, "t.json", "--reveal").out


def test_without_jinja_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else fails."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(BackendNotInstalledError) as missing:
        Template("x", "json")
    assert "strongroom[render]" in str(missing.value)


def test_without_yaml_the_result_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written all the same."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert Template("a: [", "yaml").render(lambda *_: SecretValue("x")).matches("a: [")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.json", "json"), ("app.yml.j2", "yaml"), (".env", "env"), ("prod.env.tmpl", "env"),
        ("a.b/app.toml.jinja", "toml"), ("env.sh", "shell"), ("x.cfg", "ini"), ("x.conf", None),
        ("a.json/none", None), ("plain", None),
    ],
)  # fmt: skip
def test_the_format_is_told_by_the_name(name: str, kind: str | None) -> None:
    """Without a template's suffix; what has more than one meaning must be said."""
    assert templates.format_of(name) == kind


def test_a_file_is_written_again_on_a_change(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any secret it asked for, also of one whose name was made by the template; not if nothing changed."""
    out = plaintext(tmp_path / "app.json", "render writes values where it is told to")
    written, more = list[Any](), threading.Condition()
    text = '[{{ secret("db/password") }}, {{ secret("db/" ~ "login", "/user") }}]'
    put_out = rendering._put_out

    def noted(rendered: SecretValue, path: str | None, mode: int) -> None:
        put_out(rendered, path, mode)
        with more:
            written.append(json.loads(out.read_text()))
            more.notify_all()

    monkeypatch.setattr(rendering, "_put_out", noted)
    filling = rendering._Rendering(Options(store=run.url, quiet=True), Template(text, "json"), str(out), None)
    filling.once()
    assert written == [[CANARY, "app"]]
    with run.store() as store:
        store.put("db/login", {"user": "other", "password": "new"})
    follower = filling.follower()
    follower.start()
    with more:
        assert more.wait_for(lambda: len(written) == 2, timeout=20)
    follower.stop()
    assert written[1] == [CANARY, "other"]
