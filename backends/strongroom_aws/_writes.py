"""The three ways to write a value: over whatever is there, only if nothing is, only over one version.

Each calls AWS in the order that the models in ``tests/models`` were checked with. A version under a private
label is written first, then AWSCURRENT moves to it from exactly the version that was expected.
"""

from __future__ import annotations

from strongroom.backend import SecretVersion
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue

from ._labels import CURRENT, PREVIOUS, PUT, RECORD, Labels, was_current
from ._secrets import Secrets, new_token

_ROUNDS = 3


def put_any(secrets: Secrets, name: str, value: SecretValue, record: str | None) -> SecretVersion:
    """Write a new current version, whatever was current."""
    token = new_token()
    for _ in range(_ROUNDS):
        if _added(secrets, name, token, value, record) or _created(secrets, name, token, value, record):
            return secrets.made_current(name, token)
    raise UnavailableError("the name is created and deleted while it is written")


def _added(secrets: Secrets, name: str, token: str, value: SecretValue, record: str | None) -> bool:
    try:
        secrets.add(name, token, value, [CURRENT, RECORD + record] if record else None)
    except SecretNotFoundError:
        return False
    except (SecretConflictError, UnavailableError) as exc:
        error: SecretStoreError = exc
    else:
        return True
    if isinstance(error, UnavailableError):
        _read_back(secrets, name, token, error)
        return True
    if secrets.is_being_purged(name):
        return False
    raise error


def _created(secrets: Secrets, name: str, token: str, value: SecretValue, record: str | None) -> bool:
    """Create the secret with its value; with a record only without, since CreateSecret takes no labels."""
    if record:
        secrets.create(name, new_token(), None)
        return False
    return _create(secrets, name, token, value)


def _create(secrets: Secrets, name: str, token: str, value: SecretValue) -> bool:
    try:
        return secrets.create(name, token, value)
    except UnavailableError as exc:
        error = exc
    _read_back(secrets, name, token, error)
    return True


def _read_back(secrets: Secrets, name: str, token: str, error: UnavailableError) -> None:
    """After a lost answer: return if our version is or was current, else raise."""
    if error.performed is None:
        labels = secrets.labels_once(name, lambda seen: _is_ours(seen, token))
        if _is_ours(labels, token):
            return
    raise error


def _is_ours(labels: Labels, token: str) -> bool:
    return bool(labels.on(token)) and was_current(labels.on(token))


def put_absent(secrets: Secrets, name: str, value: SecretValue, record: str | None) -> SecretVersion:
    """Write only if the secret has no value: create it, or be the first version of an empty one."""
    token = new_token()
    if record is None:
        if _create(secrets, name, token, value):
            return secrets.made_current(name, token)
    elif secrets.create(name, new_token(), None):
        return _become_first(secrets, name, token, value, record)
    if secrets.labels_once(name, lambda seen: bool(seen.by_version)).holder(CURRENT):
        raise SecretConflictError("exists already")
    return _become_first(secrets, name, token, value, record)


def _become_first(
    secrets: Secrets, name: str, token: str, value: SecretValue, record: str | None
) -> SecretVersion:
    """AWS gives AWSCURRENT to a first version, unasked and once, so the answer tells who was first."""
    mark = PUT + token
    labels = _add_marked(secrets, name, token, value, record)
    if not labels & {CURRENT, PREVIOUS}:
        raise SecretConflictError("exists already")
    secrets.unlabel(name, mark, token)
    return secrets.made_current(name, token)


def _add_marked(
    secrets: Secrets, name: str, token: str, value: SecretValue, record: str | None
) -> frozenset[str]:
    """Put a version under its private label; its labels, also if the answer was lost but it is there."""
    mark = PUT + token
    try:
        return secrets.add(name, token, value, [mark, RECORD + record] if record else [mark])
    except UnavailableError as exc:
        error = exc
    labels = frozenset[str]()
    if error.performed is None:
        labels = secrets.labels_once(name, lambda seen: mark in seen.on(token)).on(token)
    if mark not in labels:
        raise error
    return labels


def put_if(secrets: Secrets, name: str, value: SecretValue, base: str, record: str | None) -> SecretVersion:
    """Write only if ``base`` is current."""
    token = new_token()
    before = _existing(secrets, name)
    if not 32 <= len(base) <= 64 or not before.holder(CURRENT):  # the first version would become current
        raise _not_current()
    error: SecretStoreError | None = None
    try:
        _add_marked(secrets, name, token, value, record)
    except SecretNotFoundError:
        error = _not_current()
    except UnavailableError as exc:
        error = exc
    if error:
        error.performed = False  # AWSCURRENT was not moved, and never will be
        raise error
    become_current(secrets, name, token, base)
    secrets.unlabel(name, PUT + token, token)
    secrets.sweep(name, before)
    return secrets.made_current(name, token)


def _existing(secrets: Secrets, name: str) -> Labels:
    labels = secrets.labels_once(name, lambda seen: bool(seen.holder(CURRENT)))
    if not labels.by_version:
        try:
            return secrets.labels(name)
        except SecretNotFoundError as exc:
            in_the_bin = exc.hint is not None
        raise _in_the_bin() if in_the_bin else _not_current()
    return labels


def become_current(secrets: Secrets, name: str, token: str, base: str) -> None:
    """Move AWSCURRENT from ``base`` to our version.

    Raises:
        SecretConflictError: ``base`` is not current, and ours neither is nor was.
        UnavailableError: ``performed`` is None if the answer was lost and reading back did not tell.
    """
    error: SecretStoreError
    try:
        if secrets.move(name, CURRENT, token, base):
            return
        error = _not_current()
    except UnavailableError as exc:
        error = exc
    if isinstance(error, UnavailableError) and error.performed is False:
        raise error
    labels = secrets.labels_once(
        name, lambda seen: isinstance(error, SecretConflictError) or ours(seen, token)
    )
    if not ours(labels, token):
        raise error


def ours(labels: Labels, token: str) -> bool:
    """Whether a version is current, or was until the last change."""
    return bool(labels.on(token) & {CURRENT, PREVIOUS})


def _not_current() -> SecretConflictError:
    return SecretConflictError("if_version is not the current version", hint="read it again")


def _in_the_bin() -> SecretConflictError:
    return SecretConflictError("the name is in the bin", hint="restore or purge it first")
