"""``resource "strongroom_secret"``: a secret whose value goes in and never stands in state."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final, final

from strongroom.backend import ANY_CAS, Capability, SecretInfo
from strongroom.errors import SecretNotFoundError, SecretStoreError
from strongroom.value import SecretValue

from .blocks import Change, PartlyDoneError, Resource, State
from .metadata import moment
from .places import STORE, alias_of, blamed, known, store_of
from .problems import Diagnostic, ProblemError, problem
from .putting import VERSION, Put
from .reference import identified, identity
from .schema import NUMBER, STRING, STRING_MAP, UNKNOWN, Attribute, Schema, Value, Values
from .unfinished import Unfinished

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .described import Described

_GIVEN: Final = ("value_wo", "value_wo_base64")
_TOLD: Final = ("version", "written_version")
_NEEDED: Final = {"delete": Capability.DELETE, "purge": Capability.PURGE, "keep": Capability(0)}


@final
class SecretResource(Resource):
    """Writes a value once for each ``value_wo_version``, and only over what it has itself written."""

    name: ClassVar[str] = "strongroom_secret"
    schema: ClassVar[Schema] = Schema(
        "A secret. Its value is written and never read; a rotation is not undone: what another has written "
        "since is replaced only where if_version names it.",
        {
            "store": Attribute(STRING, STORE, optional=True, computed=True, replace=True),
            "name": Attribute(STRING, "The secret's name.", required=True, replace=True),
            "value_wo": Attribute(
                STRING,
                "The value as text. Written when the secret is made, and when value_wo_version changes.",
                optional=True,
                write_only=True,
            ),
            "value_wo_base64": Attribute(
                STRING, "The value's bytes in base64, in place of value_wo.", optional=True, write_only=True
            ),
            "value_wo_version": Attribute(
                NUMBER,
                "Another number writes the value anew. That of an imported secret is only recorded.",
                optional=True,
            ),
            "tags": Attribute(
                STRING_MAP, "Tags that the secret has; others that it has are left alone.", optional=True
            ),
            "if_version": Attribute(
                STRING,
                "A version that another has written, and that value_wo_version may replace all the same.",
                optional=True,
            ),
            "on_destroy": Attribute(
                STRING,
                "delete (the default): into the bin, whence `strongroom restore` brings it back; purge: for "
                "ever; keep: it stays.",
                optional=True,
            ),
            "id": Attribute(STRING, "The secret as a reference: strongroom://STORE/NAME.", computed=True),
            "version": Attribute(STRING, "The id of the version that is current.", computed=True),
            "written_version": Attribute(
                STRING, "The id of the version that this resource wrote last.", computed=True
            ),
            "created_at": Attribute(
                STRING, "When the secret was first written, if the provider tells.", computed=True
            ),
        },
    )

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        """What contradicts itself, as far as it is known."""
        return [*_wrong_values(config), *_wrong_words(config)]

    def plan(self, change: Change) -> State:
        """Fails where the apply could only fail: what the store cannot do, what another has written."""
        planned, config = dict(change.planned), change.config
        if not known(config["store"], config["name"]):
            unsaid = {} if config["store"] else {"store": UNKNOWN}
            return State({**planned, **unsaid, **dict.fromkeys(("id", "created_at", *_TOLD), UNKNOWN)})
        planned["store"] = planned["store"] or alias_of(self.stores, None)
        store = store_of(self.stores, planned["store"])
        planned["id"] = identity(store.alias, str(planned["name"]))
        self._check(store, change)
        if change.prior is None:
            planned |= dict.fromkeys(("created_at", *_TOLD), UNKNOWN)
        elif _is_same(change.prior, planned) and _writes(change.prior, planned):
            self._check_base(store, change)
            planned |= dict.fromkeys(_TOLD, UNKNOWN)
        return State(planned, change.private, tuple(_recorded_only(change.prior, planned)))

    def create(self, change: Change) -> State:
        """Write the first version; what a killed apply has written is known again, and not written twice."""
        planned = change.planned
        store, name = store_of(self.stores, planned["store"]), str(planned["name"])
        version = self._put(store, change).first()
        self._describer(store).changed(name)
        self._set_tags(store, name, planned["tags"], {})
        created = None
        with suppress(SecretStoreError):  # the secret is there; the next read tells it
            created = store.describe(name).created_at
        made: Values = {
            "store": store.alias,
            "id": identity(store.alias, name),
            "created_at": moment(created),
        }
        return State({**planned, **made, **dict.fromkeys(_TOLD, version)}, change.private)

    def read(self, values: Values, private: bytes) -> State | None:
        """What is known of it without its value. One that was imported counts as written from here on."""
        store, name = store_of(self.stores, values["store"]), str(values["name"])
        with blamed("name"):
            info = self._describer(store).of(name, lambda listed: _agrees(listed, values))
        if info is None:
            return None
        secret, tags = identity(store.alias, name), values["tags"]
        version = info.newest.id if info.newest else None
        written = values["written_version"] or version
        note = self._notes.of(secret)
        if note and note.written == written:
            self._notes.forget(secret)
        told: Values = {
            "id": secret,
            "version": version,
            "written_version": written,
            "created_at": moment(info.created_at) or values["created_at"],
            "tags": {k: info.tags[k] for k in tags if k in info.tags} if isinstance(tags, dict) else None,
        }
        return State({**values, **told}, private)

    def update(self, change: Change) -> State:
        """The value if its version has changed, then the tags.

        Raises:
            PartlyDoneError: the value was written, and the tags were not.
        """
        prior, planned = change.prior or {}, change.planned
        store, name = store_of(self.stores, planned["store"]), str(planned["name"])
        done = {n: prior[n] if value is UNKNOWN else value for n, value in planned.items()}
        if _writes(prior, planned):
            version = self._next(store, change)
            done |= dict.fromkeys(_TOLD, version)
        self._describer(store).changed(name)
        try:
            self._set_tags(store, name, planned["tags"], prior["tags"])
            return State(done, change.private)
        except ProblemError as error:
            problems = error.diagnostics
        raise PartlyDoneError(State({**done, "tags": prior["tags"]}, change.private), *problems)

    def delete(self, values: Values, private: bytes) -> None:
        """As ``on_destroy`` says; one that is gone already is no error."""
        store, name = store_of(self.stores, values["store"]), str(values["name"])
        how = str(values["on_destroy"] or "delete")
        self._notes.forget(identity(store.alias, name))
        self._describer(store).changed(name)
        if how == "keep":
            return
        with blamed("on_destroy"), suppress(SecretNotFoundError):
            (store.delete if how == "delete" else store.purge)(name)

    def bring(self, identity: str) -> State:
        """By ``STORE/NAME``, its reference, or ``URL NAME``; it writes nothing."""
        store, name = identified(identity)
        return State({**dict.fromkeys(self.schema.attributes), "store": store, "name": name})

    @property
    def _notes(self) -> Unfinished:
        return self.stores.unfinished

    def _describer(self, store: SecretStore) -> Described:
        return self.stores.described(store)

    def _check(self, store: SecretStore, change: Change) -> None:
        """What can be told without a request."""
        config = change.config
        with blamed("name"):
            store.is_warm(
                str(change.planned["name"])
            )  # any method refuses an illegal name; this one sends nothing
        how = str(config["on_destroy"] or "delete") if config["on_destroy"] is not UNKNOWN else "keep"
        if missing := _NEEDED[how] & ~store.capabilities:
            other = ", or ".join(w for w, need in _NEEDED.items() if need in store.capabilities)
            raise problem(f"{store.alias} cannot {_words(missing)}", "on_destroy", detail=f"say {other}")
        if config["tags"] and Capability.TAGS not in store.capabilities:
            raise problem(f"{store.alias} keeps no tags", "tags")
        if change.prior is None:
            _value(config)
            needed = Capability.PUT | Capability.CREATE_ONLY | Capability.DESCRIBE
            if missing := needed & ~store.capabilities:
                raise problem(f"{store.alias} cannot {_words(missing)}, which a secret here needs", "store")

    def _check_base(self, store: SecretStore, change: Change) -> None:
        """That the apply will not write over what another has written."""
        _value(change.config)
        if not store.capabilities & ANY_CAS:
            raise problem(
                f"{store.alias} has no compare-and-set: an apply could undo a rotation",
                VERSION,
                detail="name a [coordinator] in strongroom.toml",
            )
        note = self._notes.of(str((change.prior or {})["id"]))
        if note and note.base == (change.prior or {})["written_version"] and note.written is None:
            return  # killed in the write: the apply looks whether it came through
        if change.config["if_version"] is not UNKNOWN:
            self._base(change)

    def _base(self, change: Change) -> str:
        """The version that may be written over."""
        prior = change.prior or {}
        current, note = prior["version"], self._notes.of(str(prior["id"]))
        taken = {prior["written_version"], change.config["if_version"], note.written if note else None}
        if isinstance(current, str) and current in taken:
            return current
        raise problem(
            f"{prior['id']} has version {current}, which another has written since this resource did",
            VERSION,
            detail=f'a rotation, it may be: to replace it knowingly, write if_version = "{current}"',
        )

    def _put(self, store: SecretStore, change: Change) -> Put:
        given, value = _value(change.config)
        wanted = str(change.planned[VERSION])
        if value is None:
            raise problem("the value must be known when it is written", given)
        return Put(store, str(change.planned["name"]), value, given, wanted, self._notes)

    def _next(self, store: SecretStore, change: Change) -> str:
        prior, put = change.prior or {}, self._put(store, change)
        current, note = str(prior["version"]), self._notes.of(str(prior["id"]))
        if note and note.base == prior["written_version"] and put.is_ours(note, current):
            return current
        return put.next(self._base(change))

    def _set_tags(self, store: SecretStore, name: str, tags: Value, before: Value) -> None:
        """Those that differ; of an imported secret, what is so already is not written."""
        if not isinstance(tags, dict):
            return
        with blamed("tags"):
            had = before if isinstance(before, dict) else dict(store.describe(name).tags)
            changed = {k: str(v) for k, v in tags.items() if had.get(k) != v}
            gone = dict.fromkeys(before.keys() - tags.keys()) if isinstance(before, dict) else {}
            if changed or gone:
                store.set_tags(name, {**changed, **gone})


def _wrong_values(config: Values) -> Iterator[Diagnostic]:
    given = [name for name in _GIVEN if config[name] is not None]
    if len(given) > 1:
        yield Diagnostic("give the value once: as text, or in base64", "", ("value_wo_base64",))
    if given and config[VERSION] is None:
        yield Diagnostic("a value needs value_wo_version, which says when it is written", "", (VERSION,))
    value = config["value_wo_base64"]
    if isinstance(value, SecretValue) and _decoded(value) is None:
        yield Diagnostic("this is no base64", "", ("value_wo_base64",))


def _wrong_words(config: Values) -> Iterator[Diagnostic]:
    how, tags = config["on_destroy"], config["tags"]
    if isinstance(how, str) and how not in _NEEDED:
        yield Diagnostic(f"on_destroy is one of {', '.join(_NEEDED)}", "", ("on_destroy",))
    for key in [key for key, tag in tags.items() if tag is None] if isinstance(tags, dict) else ():
        yield Diagnostic("a tag has a text", "", ("tags", key))


def _value(config: Values) -> tuple[str, SecretValue | None]:
    """The attribute that the value stands in, and the value; None if it is not known yet."""
    given = next((name for name in _GIVEN if config[name] is not None), None)
    if given is None or config[VERSION] is None:
        raise problem(
            "the secret is to be written: give its value", *((VERSION,) if given else ("value_wo",))
        )
    value = config[given]
    if not isinstance(value, SecretValue):
        return given, None
    return given, value if given == "value_wo" else _decoded(value)


def _decoded(value: SecretValue) -> SecretValue | None:
    try:
        return SecretValue(b64decode(value.reveal(), validate=True))
    except (binascii.Error, ValueError):
        return None


def _is_same(prior: Values, planned: Values) -> bool:
    return (prior["store"], prior["name"]) == (planned["store"], planned["name"])


def _writes(prior: Values, planned: Values) -> bool:
    """Whether another ``value_wo_version`` is asked for; the first one of an imported secret is recorded."""
    return prior[VERSION] is not None and planned[VERSION] not in (None, prior[VERSION])


def _recorded_only(prior: Values | None, planned: Values) -> Iterator[Diagnostic]:
    if prior and prior[VERSION] is None and planned[VERSION] is not None:
        summary = "the value_wo_version of a secret that was imported is only recorded"
        yield Diagnostic(summary, "nothing is written before it changes once more", (VERSION,), warning=True)


def _agrees(listed: SecretInfo, values: Values) -> bool:
    """Whether a listing tells nothing but what state knows."""
    tags = values["tags"]
    return (
        listed.newest is not None
        and listed.newest.id == values["version"]
        and (not isinstance(tags, dict) or all(listed.tags.get(k) == v for k, v in tags.items()))
    )


def _words(missing: Capability) -> str:
    return " and ".join(name.lower().replace("_", " ") for name in missing.names)
