"""One key on a token, as a KEK or a signer uses it: found once per session, used again after an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.retry import attempts

from ._errors import error_for
from .sessions import Token
from .uri import TokenURI

if TYPE_CHECKING:
    from strongroom.backend import Settings

T = TypeVar("T")
Find = Callable[..., Any]
"""``find(object_class, *key_types)``: the one object with the URL's label and id, or pkcs11.NoSuchKey."""


class KeyAccess:
    """Finds the key and does things with it, each in one block of the token's session.

    Raises:
        InvalidRequestError: the URL names no key, or the configuration no module.
    """

    def __init__(self, uri: TokenURI, settings: Settings):
        if uri.object is None and uri.id is None:
            raise InvalidRequestError("the URL names no key", hint="add object=LABEL or id=%01%02")
        self._uri, self._settings = uri, settings
        self._token = Token(uri, settings)
        self._found: dict[tuple[Any, ...], Any] = {}

    def use(self, operation: str, work: Callable[[Find], T]) -> T:
        """What `work(find)` returns; tried again where the token fails for the moment.

        Nothing done with a key changes the token, so that doing it twice is harmless.
        """
        return attempts(self._settings, partial(self.attempt, operation, work), again=True)

    def attempt(self, operation: str, work: Callable[[Find], T]) -> T | SecretStoreError:
        """One attempt, which returns its error: python-pkcs11's frames, and what they hold, end here."""
        error: SecretStoreError | None
        try:
            with self._token.session() as session:
                return work(partial(self._find, session))
        except SecretStoreError as exc:
            error = exc.with_traceback(None)
        except pkcs11.PKCS11Error as exc:
            error = error_for(exc, operation)
        assert error is not None
        return error

    def close(self) -> None:
        """Leave the token."""
        self._found.clear()
        self._token.close()

    def _find(self, session: Any, object_class: ObjectClass, *key_types: KeyType) -> Any:
        wanted = (object_class, *key_types)
        key = self._found.get(wanted)
        if key is None or key.session is not session:  # a handle is a session's own
            key = self._found[wanted] = only(candidates(session, self._uri, object_class, *key_types))
        return key


def candidates(session: Any, uri: TokenURI, object_class: ObjectClass, *key_types: KeyType) -> list[Any]:
    """Every object of the class, and of one of the key types if any is named, that the URL could mean."""
    template: dict[Attribute, Any] = {Attribute.CLASS: object_class}
    if uri.object is not None:
        template[Attribute.LABEL] = uri.object
    if uri.id is not None:
        template[Attribute.ID] = uri.id
    found = list(session.get_objects(template))
    return [key for key in found if not key_types or key[Attribute.KEY_TYPE] in key_types]


def only(found: list[Any]) -> Any:
    """The one object there is. Labels are not unique on a token: two of them are nobody's choice.

    Raises:
        pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned: there is none, or more than one.
    """
    if len(found) > 1:
        raise pkcs11.MultipleObjectsReturned
    if not found:
        raise pkcs11.NoSuchKey
    return found[0]
