"""The table [audit]: what it means, and what is wrong with one, told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import InvalidRequestError
from strongroom.toml.audit_entries import AuditEntry
from strongroom.toml.file import Config, read_text

STORE = '[store.prod]\nurl = "memory://"\n[key.k]\nurl = "aws-kms://eu-west-1/alias/a"\n[audit]\n'
JOURNAL = 'journal = { path = "/var/lib/audit" }\n'


def read(text: str) -> Config:
    return read_text(Path("c.toml"), STORE + text, "")


def audit(text: str) -> AuditEntry:
    found = read(text).audit
    assert found
    return found


def test_what_is_not_written_has_a_default() -> None:
    """Refuse, 64 MiB, no key, no checkpoints, no sinks."""
    entry = audit(JOURNAL)
    assert (entry.path, entry.if_unwritable, entry.segment) == ("/var/lib/audit", "refuse", 2**26)
    assert (entry.gate, entry.subject_key, entry.checkpoint, entry.sinks) == ("", "", None, ())
    assert read_text(Path("c.toml"), '[store.prod]\nurl = "memory://"\n', "").audit is None


def test_what_is_written_is_read() -> None:
    """Durations as seconds, sinks in their order, each with a name."""
    entry = audit(
        'journal = { path = "/j", if_unwritable = "allow", origin = "o", segment = 65536 }\n'
        'operations = { get = "allow", "pending.*" = "refuse", "*" = "refuse" }\nsubject_key = "k"\n'
        'checkpoint = { signer = "k", every = "30s", records = 5, export = ["file:///x/"] }\n'
        'sinks = [{ url = "syslog+tls://Siem.example.net:6514", format = "ocsf" },'
        ' { url = "https://a.example/", name = "a", timeout = "2s",'
        ' headers = { Authorization = "env://T" } }]\n'
    )
    assert (entry.if_unwritable, entry.origin, entry.segment, entry.subject_key) == ("allow", "o", 65536, "k")
    assert entry.operations == {"get": "allow", "pending.*": "refuse", "*": "refuse"}
    assert entry.checkpoint
    assert (entry.checkpoint.signer, entry.checkpoint.every, entry.checkpoint.records) == ("k", 30.0, 5)
    assert entry.checkpoint.export == ("file:///x/",)
    assert [(sink.name, sink.format) for sink in entry.sinks] == [
        ("syslog-tls-siem-example-net-6514", "ocsf"),
        ("a", "json"),
    ]
    assert (entry.sinks[1].timeout, list(entry.sinks[1].headers)) == (2.0, ["Authorization"])


def test_a_profile_has_an_audit_of_its_own() -> None:
    """As a whole, like any other table; a store is strict by its own table."""
    text = STORE + JOURNAL + '[profile.laptop.audit]\njournal = { path = "/tmp/j" }\n'
    found = read_text(Path("c.toml"), text.replace('"memory://"', '"memory://"\naudit = "strict"'), "laptop")
    assert found.audit
    assert found.audit.path == "/tmp/j"
    assert found.stores["prod"].strict


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "either journal or gate"),
        (JOURNAL + 'gate = "a"\nsinks = [{ url = "https://a/", name = "a" }]', "either journal or gate"),
        ('journal = { path = "j" }', "journal.path: is no absolute path"),
        ('journal = { if_unwritable = "allow" }', "needs a path"),
        (JOURNAL + "jurnal = 1", "did you mean 'journal'"),
        (JOURNAL + 'operations = { Get = "allow" }', "is an operation"),
        (JOURNAL + 'operations = { get = "perhaps" }', "is 'refuse' or 'allow'"),
        (JOURNAL + 'subject_key = "kk"', "no key is called 'kk'"),
        (JOURNAL + 'checkpoint = { signer = "kk" }', "no key is called 'kk'"),
        (JOURNAL + 'checkpoint = { every = "1m" }', "needs a signer"),
        ('gate = "b"\nsinks = [{ url = "https://a/", name = "a" }]', "no sink is called 'b'"),
        ('gate = "a"\nsinks = [{ url = "https://a/", name = "a" }]\ncheckpoint = { signer = "k" }', "only"),
        (JOURNAL + 'sinks = [{ url = "https://a/" }, { url = "https://a/x" }]', "two have one name"),
        (JOURNAL + 'sinks = [{ url = "https://a/", name = "A b" }]', "lower-case"),
        (JOURNAL + 'sinks = [{ url = "https://a/", secret = "plain" }]', "must not stand in the file"),
        (
            JOURNAL + 'sinks = [{ url = "https://a/", secret = "strongroom://prod/x" }]',
            "would be audited before it is read",
        ),
        (JOURNAL + 'sinks = [{ url = "https://a/", certificate = "/c" }]', "stands with private_key only"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, problem: str) -> None:
    """File, line, key, and the nearest right name."""
    with pytest.raises(InvalidRequestError) as caught:
        read(text)
    said = f"{caught.value.message} ({caught.value.hint})"
    assert said.startswith("c.toml:")
    assert problem in said
