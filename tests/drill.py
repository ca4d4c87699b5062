"""A failover drill: a region is lost, a replica takes over, the region comes back. ``make drill`` runs it.

Two real OpenBao servers are two regions, each with the key encryption key of its own transit engine, and an
embedded store in a file is the third. Everything is done by the commands that an operator types, which are
printed. Each line that begins with a check mark is a fact that was tested just now; if one is not true, the
drill stops there and exits with 1. No value is ever printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers.openbao import dev_server
from tests.servers.relay import Relay

STRONGROOM = str(Path(sys.executable).with_name("strongroom"))
BEFORE, AFTER = "before.toml", "strongroom.toml"
UNAVAILABLE, DENIED = 6, 4

CONFIGURATION = """\
default = "prod"

[store.eu]
url = "vault:///secret/app?endpoint=http://127.0.0.1:{eu}"
auth = {{ method = "token", token = "env://DRILL_TOKEN" }}
timeout = "1s"
encrypt = {{ keys = ["key-eu"], domain = "drill" }}

[store.us]
url = "vault:///secret/app?endpoint=http://127.0.0.1:{us}"
auth = {{ method = "token", token = "env://DRILL_TOKEN" }}
timeout = "1s"
encrypt = {{ keys = ["key-us"], domain = "drill" }}

[store.dr]
url = "local://{folder}/dr.db?create=keyset"

[store.prod]                    # what applications open
failover = {members}

[key.key-eu]                    # of the region itself: it is lost with it
url = "vault-transit:///transit/drill?endpoint=http://127.0.0.1:{eu}"
auth = {{ method = "token", token = "env://DRILL_TOKEN" }}
timeout = "1s"

[key.key-us]
url = "vault-transit:///transit/drill?endpoint=http://127.0.0.1:{us}"
auth = {{ method = "token", token = "env://DRILL_TOKEN" }}
timeout = "1s"


[coordinator]
url = "sqlite://{folder}/coordinator.db"
"""
REPLICA = '\n[replica.{alias}]\nsource = "{source}"\ndomain = "drill"\n'


class Drill:
    """The steps, and what they are done with."""

    def __init__(self, folder: Path, eu: Relay, us: Relay):
        self.folder, self.eu, self.us = folder, eu, us
        self.facts = 0

    def configure(self, source: str) -> None:
        """Write strongroom.toml: who is the source, and who follows it."""
        others = [alias for alias in ("eu", "us", "dr") if alias != source]
        facts = {"folder": self.folder, "eu": self.eu.port, "us": self.us.port}
        text = CONFIGURATION.format(members=json.dumps([source, *others]), **facts)
        replicas = (REPLICA.format(alias=alias, source=source) for alias in others)
        (self.folder / AFTER).write_text(text + "".join(replicas))

    def run(
        self, *arguments: str, stdin: str = "", code: int = 0, config: str = AFTER, show: bool = True
    ) -> str:
        """What ``strongroom ARGUMENTS`` prints; it must end with this exit code."""
        if show:
            print(f"  $ strongroom {' '.join(arguments)}", flush=True)
        command = [STRONGROOM, *arguments, "--config", str(self.folder / config)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != code:
            print(done.stderr, file=sys.stderr)
            self.fact(f"strongroom {arguments[0]} ended with {done.returncode}, not {code}", False)
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`replica status`, by alias."""
        command = [STRONGROOM, "replica", "status", "--json", "--config", str(self.folder / AFTER)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told: dict[str, Any] = json.loads(done.stdout)["replicas"]
        return told

    def put(self, name: str, value: str, *, store: str, config: str = AFTER) -> None:
        self.run("put", name, "--store", store, "--quiet", stdin=value, config=config)

    def holds(self, name: str, value: str, *, store: str = "prod") -> bool:
        """Whether a reader gets exactly this."""
        return self.run("get", name, "--store", store, show=False).rstrip("\n") == value

    def fact(self, text: str, true: bool) -> None:
        print(f"{'✓' if true else '✗'} {text}", flush=True)
        if not true:
            sys.exit(1)
        self.facts += 1

    def title(self, text: str) -> None:
        print(f"\n{text}", flush=True)


def replicate(drill: Drill) -> None:
    drill.title("1. Three regions: eu is the source; us and dr follow it")
    for name in ("db/password", "exchange/api-secret"):
        drill.put(name, f"{name} one", store="eu")
    drill.run("replica", "sync")
    drill.fact("us and dr have both secrets", all(one["in_sync"] == 2 for one in drill.status().values()))
    drill.fact("each opens under its own key", drill.holds("db/password", "db/password one", store="dr"))


def lose(drill: Drill) -> float:
    drill.title("2. One more write is acknowledged in eu, and then the region is lost")
    drill.put("db/password", "never replicated", store="eu")
    drill.eu.sever()
    lost = time.monotonic()
    drill.fact(
        "readers go on, from us, although eu and its key are gone",
        drill.holds("exchange/api-secret", "exchange/api-secret one"),
    )
    drill.run("put", "db/password", "--store", "prod", stdin="x", code=UNAVAILABLE)
    drill.fact("writers are told that the source is away", True)
    return lost


def take_over(drill: Drill, lost: float) -> None:
    drill.title("3. An operator has us take over")
    drill.run("replica", "takeover", "us", "--lost", "--yes")
    (drill.folder / AFTER).rename(drill.folder / BEFORE)
    drill.configure("us")
    drill.put("db/password", "written in us", store="prod")
    seconds = time.monotonic() - lost
    drill.fact(f"writes go on, {seconds:.0f} seconds after eu was lost: your own time comes on top", True)
    drill.fact("readers have the new value", drill.holds("db/password", "written in us"))


def come_back(drill: Drill) -> None:
    drill.title("4. eu comes back, and an application there has heard of nothing")
    drill.eu.mend()
    drill.put("exchange/api-secret", "split brain", store="eu", config=BEFORE)
    drill.run("replica", "sync")
    drill.run("put", "db/password", "--store", "eu", stdin="x", code=DENIED, config=BEFORE)
    drill.fact("eu is fenced: who still writes there is refused", True)
    drill.fact("eu has what us has", drill.holds("db/password", "written in us", store="eu"))
    for name, value in (("db/password", "never replicated"), ("exchange/api-secret", "split brain")):
        kept = drill.run("replica", "divergence", name, "--value").rstrip("\n")
        drill.fact(f"the write of {name} that only eu had is kept for a person", kept == value)


def go_back(drill: Drill) -> None:
    drill.title("5. Going back: eu takes over again, and nothing is lost this time")
    drill.run("replica", "takeover", "eu", "--yes")
    drill.configure("eu")
    drill.put("db/password", "home again", store="prod")
    drill.run("replica", "sync")
    states = drill.status()
    drill.fact("us and dr are in sync", all(one["in_sync"] == 2 for one in states.values()))
    for store in ("eu", "us", "dr"):
        drill.fact(
            f"{store} serves what was written last", drill.holds("db/password", "home again", store=store)
        )


def main() -> int:
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-drill-")))
        servers = [stack.enter_context(dev_server()) for _ in range(2)]
        os.environ |= {"DRILL_TOKEN": servers[0].token, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        for server in servers:
            client = server.client()
            client.sys.enable_secrets_engine("transit")
            client.secrets.transit.create_key("drill")
        ports = [int(server.address.rpartition(":")[2]) for server in servers]
        drill = Drill(folder, *(stack.enter_context(Relay(port)) for port in ports))
        drill.configure("eu")
        replicate(drill)
        take_over(drill, lose(drill))
        come_back(drill)
        go_back(drill)
    print(f"\n{drill.facts} facts shown in {time.monotonic() - started:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
