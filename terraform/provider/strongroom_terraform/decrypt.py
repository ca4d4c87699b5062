"""``ephemeral "strongroom_decrypt"``: what an encrypted message holds, such as one in a repository."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, final

from strongroom.config import key
from strongroom.value import SecretValue

from .blocks import Ephemeral, Opened
from .places import FORMS, blamed, config_of, forms
from .problems import Diagnostic, ProblemError, problem
from .schema import STRING, STRING_MAP, STRINGS, Attribute, Schema, Value, Values

if TYPE_CHECKING:
    from strongroom.keys import KeyWrapper

_NO_BASE64 = Diagnostic(
    "the message is not base64",
    'as of: strongroom encrypt FILE -k KEY -c NAME=VALUE -o OUT, then filebase64("OUT")',
    ("message",),
)


@final
class Decrypt(Ephemeral):
    """Opens a message of the AWS Encryption SDK's format, as `strongroom.decrypt` does."""

    name: ClassVar[str] = "strongroom_decrypt"
    schema: ClassVar[Schema] = Schema(
        "What an encrypted message holds, such as a file that `strongroom encrypt` has made and a repository "
        "keeps. It is verified whole before anything of it is given out.",
        {
            "message": Attribute(STRING, "The message in base64: `filebase64(…)`.", required=True),
            "keys": Attribute(
                STRINGS, "Aliases of [key] or [keyring], or URLs; any one of them opens.", required=True
            ),
            "context": Attribute(
                STRING_MAP,
                "The encryption context, every pair of it: a message that says another is refused, so that "
                "none can be put in the place of another. Empty only where it was encrypted under none.",
                required=True,
            ),
            **FORMS,
        },
    )

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        """What cannot be a message, no key, and a pair without a value."""
        found = list(_context_problems(config["context"]))
        if config["keys"] == []:
            found.append(Diagnostic("no key is named", "none is ever guessed", ("keys",)))
        if isinstance(config["message"], str) and _raw(config["message"]) is None:
            found.append(_NO_BASE64)
        return found

    def open(self, config: Values) -> Opened:
        """Verify the whole message, and give out what it holds."""
        if problems := self.validate(config):
            raise ProblemError(*problems)
        with self._keys(config["keys"]) as keys:
            value = _opened(config, keys)
        return Opened({**config, **forms(value)})

    @contextmanager
    def _keys(self, targets: Value) -> Iterator[list[KeyWrapper]]:
        assert isinstance(targets, list)
        with ExitStack() as opened:
            found = []
            for position, target in enumerate(targets):
                if not isinstance(target, str):
                    raise problem("a key has a name", "keys", position)
                with blamed("keys", position):
                    found.append(key(target, config=config_of(self.stores), clock=self.stores.clock))
                opened.callback(found[-1].close)
            yield found


def _opened(config: Values, keys: Sequence[KeyWrapper]) -> SecretValue:
    from strongroom.envelope.cipher import decrypt

    message, context = _raw(config["message"]), config["context"]
    assert message is not None
    assert isinstance(context, dict)
    pairs = {name: value for name, value in context.items() if isinstance(value, str)}
    with blamed("message"):
        plain = decrypt(message, keys=keys, context=pairs)
    return SecretValue(plain.value)


def _raw(text: Value) -> bytes | None:
    """The message; None if it is not base64. Line breaks are no error: editors and `base64` make them."""
    assert isinstance(text, str)
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _context_problems(context: Value) -> Iterator[Diagnostic]:
    if isinstance(context, dict):
        for name, value in context.items():
            if value is None or not name:
                yield Diagnostic("a pair of the context has a name and a value", "", ("context", name))
