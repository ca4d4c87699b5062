"""``ephemeral "strongroom_secret"``: a secret's value for as long as a plan or an apply takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, final

from strongroom.backend import Capability, Stage
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.references import part
from strongroom.toml.kinds import seconds

from .blocks import Ephemeral, Opened, Renewed
from .places import FORMS, STORE, blamed, forms, store_of
from .problems import Diagnostic, ProblemError, problem
from .schema import STRING, Attribute, Schema, Value, Values

if TYPE_CHECKING:
    from strongroom.backend import Secret
    from strongroom.store import SecretStore

_STAGES: Final = (Stage.CURRENT.value, Stage.PREVIOUS.value)
_DURATION: Final = r"[1-9][0-9]{0,8}[smhd]"


@final
class SecretEphemeral(Ephemeral):
    """Reads a secret each time it is opened; with `recheck`, watches that what was read still is good."""

    name: ClassVar[str] = "strongroom_secret"
    schema: ClassVar[Schema] = Schema(
        "A secret's value while a plan or an apply runs: for provider blocks, write-only attributes and "
        "other ephemeral blocks. It is read anew in each, and stands in no state and no plan.",
        {
            "store": Attribute(STRING, STORE, optional=True),
            "name": Attribute(STRING, "The secret's name.", required=True),
            "version": Attribute(
                STRING,
                "A version's id, to read that one; else which one was read.",
                optional=True,
                computed=True,
            ),
            "stage": Attribute(STRING, "current (the default) or previous.", optional=True),
            "pointer": Attribute(
                STRING, "A JSON pointer, as in /password, to take one part of the value.", optional=True
            ),
            "after": Attribute(
                STRING,
                "Anything that is known only once the secret is there, such as its id or version: Terraform "
                "then reads it in the apply, not in the plan, which needs no right to read values.",
                optional=True,
            ),
            "recheck": Attribute(
                STRING,
                "How often a long apply looks, by metadata alone, whether the version read still is current, "
                'as in "5m": it warns once that one is the previous, and fails once it is neither.',
                optional=True,
            ),
            **FORMS,
        },
    )

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        """What can be told without a store."""
        found = []
        stage, pointer, recheck = config["stage"], config["pointer"], config["recheck"]
        if isinstance(stage, str) and stage not in _STAGES:
            hint = "a pending value is its rotation's alone" if stage == Stage.PENDING.value else ""
            found.append(Diagnostic(f"a stage is one of {', '.join(_STAGES)}", hint, ("stage",)))
        if stage is not None and isinstance(config["version"], str):
            found.append(Diagnostic("name a version or a stage, not both", "", ("version",)))
        if isinstance(pointer, str) and pointer and not pointer.startswith("/"):
            found.append(Diagnostic("a JSON pointer starts with '/'", f'write "/{pointer}"', ("pointer",)))
        if isinstance(recheck, str) and not re.fullmatch(_DURATION, recheck):
            found.append(Diagnostic("recheck is a duration of at least 1s", 'as in "5m"', ("recheck",)))
        return found

    def open(self, config: Values) -> Opened:
        """Read it; an error blames the attribute that it is about."""
        if problems := self.validate(config):
            raise ProblemError(*problems)
        store = store_of(self.stores, config["store"])
        name, version = _text(config["name"]), config["version"] or None
        with blamed("version" if version else "name"):
            secret = store.get(
                name, version=_text(version) if version else None, stage=Stage(config["stage"] or "current")
            )
        with blamed("pointer"):
            value = part(secret.value, _text(config["pointer"] or ""))
        watch = Watch.of(config, secret.version)
        values = {**config, "version": version or secret.version, **forms(value)}
        warnings = tuple(_doubts(secret))
        if watch is None:
            return Opened(values, warnings=warnings)
        with blamed("recheck"):
            watch.look(store)  # what cannot be looked at later is told now
        return Opened(values, self.stores.clock.now() + watch.every, watch.packed(), warnings)

    def renew(self, private: bytes) -> Renewed:
        """By metadata alone: is what was read still good?"""
        watch = Watch.unpacked(private)
        return Renewed(self.stores.clock.now() + watch.every, private, self._looked(watch))

    def close(self, private: bytes) -> Sequence[Diagnostic]:
        """Look once more: Terraform 1.11 to 1.15 drop what a renewal tells, and print what this does."""
        return self._looked(Watch.unpacked(private)) if private else ()

    def _looked(self, watch: Watch) -> tuple[Diagnostic, ...]:
        store = store_of(self.stores, watch.store)
        with blamed("recheck"):
            try:
                warning = watch.look(store)
            except UnavailableError as error:  # what was read may be as good as before
                warning = Diagnostic(f"{watch.name} could not be looked at again", str(error), warning=True)
        return (warning,) if warning else ()


class Watch(NamedTuple):
    """What `renew` has to look at.

    Attributes:
        store: as the configuration names it.
        name: the secret.
        version: the one that was read.
        asked: ``current``, ``previous``, or ``version`` where that very one was asked for.
        recheck: how often, as the configuration says it.
    """

    store: str | None
    name: str
    version: str
    asked: str
    recheck: str

    @classmethod
    def of(cls, config: Values, version: str) -> Watch | None:
        """None where nothing is to be looked at."""
        recheck, store = config["recheck"], config["store"]
        if not isinstance(recheck, str):
            return None
        named = store if isinstance(store, str) else None
        asked = "version" if config["version"] else _text(config["stage"] or Stage.CURRENT.value)
        return cls(named, _text(config["name"]), version, asked, recheck)

    @classmethod
    def unpacked(cls, private: bytes) -> Watch:
        """What `packed` was made of."""
        return cls(*json.loads(private))

    def packed(self) -> bytes:
        """For Terraform to keep in memory; it holds no value."""
        return json.dumps(self).encode()

    @property
    def every(self) -> timedelta:
        """How long between two looks."""
        return timedelta(seconds=seconds(self.recheck))

    def look(self, store: SecretStore) -> Diagnostic | None:
        """A warning, if the version is on its way out.

        Raises:
            ProblemError: it is neither current nor previous any more, or gone.
            SecretStoreError: as the store says.
        """
        if Capability.VERSIONS not in store.capabilities:
            raise problem("this store keeps no versions that could be looked at", "recheck")
        stages = self._stages(store)
        if stages is None or not (stages or self.asked == "version"):
            gone = f"version {self.version} of {self.name}, which this run has read, is no longer in use"
            raise problem(gone, "recheck", detail="it was changed meanwhile, and may be revoked: apply again")
        if self.asked != Stage.CURRENT.value or Stage.CURRENT in stages:
            return None
        summary = (
            f"{self.name} has another current version by now than {self.version}, which this run has read"
        )
        return Diagnostic(summary, "it works until the grace of its rotation ends", warning=True)

    def _stages(self, store: SecretStore) -> frozenset[Stage] | None:
        try:
            found = [one.stages for one in store.versions(self.name) if one.id == self.version]
        except SecretNotFoundError:
            return None
        return found[0] if found else None


def _doubts(secret: Secret) -> Iterator[Diagnostic]:
    """As `strongroom get` says it on stderr."""
    doubts = [doubt for doubt in ("stale", "degraded", "audit_degraded") if getattr(secret, doubt)]
    if secret.behind:
        doubts.append(f"behind by {secret.behind} or more writes")
    if doubts:
        summary = f"the answer for {secret.name} is {', '.join(doubts)}"
        yield Diagnostic(summary, f"{secret.origin} has answered; see docs/guide.md", ("name",), warning=True)


def _text(value: Value) -> str:
    assert isinstance(value, str)
    return value
