"""AWS Secrets Manager as the models see it, and a thin client over a `Port`.

Modelled: idempotent PutSecretValue by token, staging labels (AWSPREVIOUS follows AWSCURRENT, a first version
gets AWSCURRENT unasked), UpdateSecretVersionStage with and without RemoveFromVersionId. Where the API model
contradicts itself, on a move without RemoveFromVersionId of a label that is held, `steals` chooses the
answer; `collects` lets a version without labels vanish at once, which AWS may do at any time. Not modelled:
eventual consistency of labels, deletion, the limit of 20 labels, replicas.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from tests.models.ledger import Client, Ledger, done, keep
from tests.models.replay import Call, Refused

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
WRITES = frozenset({"put", "move", "advance"})

Pairs = tuple[tuple[str, str], ...]


class World(NamedTuple):
    """`texts` by version id, `labels` by label; `history` is the checker's: which version became current, and
    how."""

    texts: Pairs = ()
    labels: Pairs = ()
    history: Pairs = ()
    ledger: Ledger = ()
    steals: bool = False
    collects: bool = False


def born(text: str = "old") -> World:
    """A secret with one value."""
    return World((("v1", text),), ((CURRENT, "v1"),), (("v1", "put"),))


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to AWS or the ledger, atomically."""
    if call.name in ("ledger", "advance"):
        ledger, answer = keep(world.ledger, call)
        return world._replace(ledger=ledger), answer
    if call.name == "describe":
        return world, world.labels
    if call.name == "read":
        return world, dict(world.texts).get(call.args[0], Refused("missing"))
    if call.name == "value":
        return world, _value(world, *call.args)
    return _put(world, *call.args) if call.name == "put" else _move(world, *call.args)


def _put(world: World, token: str, text: str, stages: tuple[str, ...]) -> tuple[World, Hashable]:
    texts = dict(world.texts)
    if token in texts:
        return world, stages_of(world, token) if texts[token] == text else Refused("exists")
    stages = stages or (CURRENT,)
    if not texts:
        stages = (*stages, CURRENT)
    world = world._replace(texts=tuple(sorted({**texts, token: text}.items())))
    for stage in stages:
        world = _label(world, stage, token, "put")
    return world, stages_of(world, token)


def _value(world: World, version: str | None, stage: str) -> Hashable:
    """GetSecretValue: a version by its id, or the one that bears the label."""
    version = version or dict(world.labels).get(stage, "")
    text = dict(world.texts).get(version)
    return Refused("missing") if text is None else (version, text, stages_of(world, version))


def stages_of(world: World, version: str) -> tuple[str, ...]:
    return tuple(label for label, holder in world.labels if holder == version)


def _label(world: World, label: str, version: str | None, how: str) -> World:
    labels = dict(world.labels)
    former = labels.pop(label, None)
    if version is not None:
        labels[label] = version
    if label == CURRENT and version is not None and former != version:
        world = world._replace(history=(*world.history, (version, how)))
        if former is not None:
            labels[PREVIOUS] = former
    world = world._replace(labels=tuple(sorted(labels.items())))
    if world.collects:
        held = set(labels.values())
        world = world._replace(texts=tuple(pair for pair in world.texts if pair[0] in held))
    return world


def _move(world: World, label: str, to: str | None, remove_from: str | None) -> tuple[World, Hashable]:
    holder = dict(world.labels).get(label)
    if to is not None and to not in dict(world.texts):
        return world, Refused("no such version")
    if remove_from is not None and holder != remove_from:
        return world, Refused("label is elsewhere", holder)
    if remove_from is None and holder not in (None, to) and not world.steals:
        return world, Refused("label is held", holder)
    return _label(world, label, to, "move"), "ok"


class SecretsManager(Client):
    """The calls of the protocols, by name."""

    def describe(self) -> dict[str, str]:
        """Which version holds each label."""
        return dict(self.port.call("describe"))

    def read(self, version: str) -> str | None:
        text = self.port.call("read", version)
        return text if isinstance(text, str) else None

    def put(self, token: str, text: str, *stages: str) -> tuple[str, ...]:
        """The labels that the version bears, from the write's own answer."""
        answer = self.port.call("put", token, text, stages)
        done(answer)
        assert isinstance(answer, tuple)
        return answer

    def move(self, label: str, to: str | None, remove_from: str | None) -> None:
        """UpdateSecretVersionStage; without `to` the label is taken off."""
        done(self.port.call("move", label, to, remove_from))
