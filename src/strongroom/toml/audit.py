"""The keys of the table ``[audit]``."""

from __future__ import annotations

from typing import Any, Final

from .containers import Entries, Table, Tables
from .kinds import Choice, Duration, Flag, Plain, Secret, Text, Texts, Whole
from .reach import Endpoint

_UNWRITABLE: Final = ("refuse", "allow")
_PATH: Final[dict[str, Any]] = {
    "form": "/.*",
    "problem": "is no absolute path",
    "hint": "write /path of it",
    "limits": "an absolute path",
}
JOURNAL: Final = Table(
    "the journal on this machine; every operation waits for it",
    {
        "path": Text("its folder, made with mode 0700", **_PATH),
        "if_unwritable": Choice(
            "what becomes of an operation that cannot be recorded", _UNWRITABLE, "refuse"
        ),
        "origin": Text("what its checkpoints call it; else a name made once from the host's"),
        "segment": Whole("bytes after which another file is begun", 4096, 2**40, 2**26),
    },
    needs={"a path": (("path",),)},
)
ANCHOR: Final = Table(
    "one place that checkpoints are copied to, if its URL does not say enough",
    {
        "url": Text("where it is: see audit-proof.md"),
        "endpoint": Endpoint("of a bucket: another server than Amazon's", limits="https, or loopback"),
        "region": Text("of a bucket"),
        "profile": Text("of a bucket: whose credentials to take, by AWS's configuration"),
        "access_key_id": Plain("of a bucket"),
        "secret_access_key": Secret("of a bucket"),
        "token": Secret("what a receiver over HTTPS is shown, as a bearer token"),
        "ca": Text("the path of a PEM file with the authorities to trust instead of the system's"),
        "private": Flag("its host may have an address that is not public"),
        "timeout": Duration("how long one request may take", "10s"),
    },
    needs={"a url": (("url",),)},
    only_with={"access_key_id": "secret_access_key", "secret_access_key": "access_key_id"},
)
CHECKPOINT: Final = Table(
    "signed notes over the journal, by which a later change is found out",
    {
        "signer": Text(
            "a key that signs, by its alias, or the path of a key file that `audit checkpoint` made"
        ),
        "every": Duration("how long until the next, if there are records", "1m"),
        "records": Whole("how many records until the next", 1, 10**9, 10_000),
        "export": Texts("URLs out of this machine's reach that each one is copied to", "place"),
        "anchors": Tables("the same for places that need more than a URL", ANCHOR),
    },
    needs={"a signer": (("signer",),)},
)
SINK: Final = Table(
    "one receiver of the records",
    {
        "url": Text("where it is, by its scheme: see audit-sinks.md"),
        "name": Text(
            "what `gate`, errors and the folder of its cursor call it; else made from the URL",
            form="[a-z0-9_-][a-z0-9._-]{0,63}",
            problem="is lower-case letters and digits with . _ - between",
        ),
        "format": Choice("how a record is written", ("json", "ocsf", "ecs", "cef"), "json"),
        "secret": Secret("what its requests are signed with"),
        "headers": Entries(
            "headers of its requests, such as `authorization`",
            Secret("what it says"),
            form="[A-Za-z][A-Za-z0-9-]*",
            problem="is the name of a header",
        ),
        "ca": Text("the path of a PEM file with the authorities to trust instead of the system's"),
        "certificate": Text(
            "the path of a PEM file with our own certificate, for a receiver that asks for it", **_PATH
        ),
        "private_key": Text("the path of a PEM file with the certificate's key", **_PATH),
        "private": Flag("its host may have an address that is not public"),
        "timeout": Duration("how long one batch may take", "10s"),
        "limit": Whole("bytes of one record that it takes; a longer one is clipped", 256, 2**30),
        "max_lag": Whole("bytes of the journal that it may be behind", 2**16, 2**50, 2**28),
        "on_full": Choice(
            "what gives when it is too far behind: its records, or the operations", ("skip", "refuse"), "skip"
        ),
    },
    needs={"a url": (("url",),)},
    only_with={"certificate": "private_key", "private_key": "certificate"},
)
CALENDAR: Final = Table(
    "working time; without it nothing is off-hours",
    {
        "timezone": Text("the zone all of it is meant in, an IANA name", "UTC"),
        "days": Text("of the week, such as `mon-fri` or `mon,wed,sat`", "mon-fri"),
        "hours": Text("from when to when; an end before the beginning is the next day's", "07:00-19:00"),
        "holidays": Texts("days without work, such as `2026-12-25`", "day"),
    },
)
DETECT: Final = Table(
    "how `audit watch` judges what it reads",
    {
        "learn": Duration(
            "how long after the first record what happens is taken for normal", "7d", nothing=True
        ),
        "settle": Duration(
            "how long a new secret may be read by anybody for the first time", "1d", nothing=True
        ),
        "history": Duration("how long it is remembered who read what", "90d"),
        "lateness": Duration(
            "how long to wait for records that others write at the same time", "5s", nothing=True, most="1h"
        ),
        "rules": Text("a folder of Sigma rules of your own", **_PATH),
        "calendar": CALENDAR,
    },
)
AUDIT: Final = Table(
    "",
    {
        "journal": JOURNAL,
        "gate": Text("where there is no disk: the sink, by name, that every operation waits for"),
        "operations": Entries(
            "`refuse` or `allow` for some operations: by name, as `pending.*`, or `*` for all others",
            Choice("what becomes of it where it cannot be recorded", _UNWRITABLE),
            form=r"\*|[a-z_]+(?:\.(?:[a-z_]+|\*))?",
            problem='is an operation such as "get", "pending.*" or "*"',
        ),
        "subject_key": Text("the key, by its alias, that the keys of the subjects stand under"),
        "checkpoint": CHECKPOINT,
        "detect": DETECT,
        "sinks": Tables("receivers of the records, each fed in its own time", SINK),
    },
    either=("journal", "gate"),
    only_with={"checkpoint": "journal", "detect": "journal", "subject_key": "journal"},
)
