"""``ephemeral "strongroom_random"``: a new password under a stated policy, for a write-only attribute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, final

from strongroom.errors import InvalidRequestError
from strongroom.passwords import CLASSES, MAX_LENGTH, Policy, generate
from strongroom.value import SecretValue

from .blocks import Ephemeral, Opened
from .places import known
from .problems import Diagnostic, ProblemError
from .schema import NUMBER, STRING, STRINGS, Attribute, Schema, Values

_DEFAULT: Final = Policy()


@final
class RandomValue(Ephemeral):
    """A password as `strongroom.passwords` makes it; each opening makes another one."""

    name: ClassVar[str] = "strongroom_random"
    schema: ClassVar[Schema] = Schema(
        "A new password, another one each time it is opened: give it to a write-only attribute, whose "
        "version says when it is taken.",
        {
            "length": Attribute(
                NUMBER, f"Characters, {_DEFAULT.length} by default, {MAX_LENGTH} at most.", optional=True
            ),
            "classes": Attribute(
                STRINGS,
                f"Of its characters, at least one of each: some of {', '.join(CLASSES)}; "
                f"{', '.join(_DEFAULT.classes)} by default.",
                optional=True,
            ),
            "exclude": Attribute(STRING, "Characters that it must not hold, such as 0O1lI.", optional=True),
            "value": Attribute(STRING, "The password.", computed=True, sensitive=True),
        },
    )

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        """A policy that cannot work, or whose passwords could be guessed."""
        asked = (config["length"], config["classes"], config["exclude"])
        return _problems(config) if known(*asked) else ()

    def open(self, config: Values) -> Opened:
        """From the operating system's random source."""
        if problems := _problems(config):
            raise ProblemError(*problems)
        value = SecretValue(generate(Policy(**_asked(config))))
        return Opened({**config, "value": value})


def _asked(config: Values) -> dict[str, Any]:
    """What `Policy` takes; what the configuration does not say is its default."""
    said = {name: config[name] for name in ("length", "classes", "exclude") if config[name] is not None}
    classes = said.get("classes")
    return {**said, "classes": tuple(classes)} if isinstance(classes, list) else said


def _problems(config: Values) -> list[Diagnostic]:
    asked = _asked(config)
    if not isinstance(asked.get("length", 1), int):
        return [Diagnostic("a length is a whole number", "", ("length",))]
    problem = _problem(asked)
    if problem is None:
        return []
    return [Diagnostic(problem.message, problem.hint or "", (_blamed(asked),))]


def _blamed(asked: dict[str, Any]) -> str:
    """With the longest length, and then with nothing excluded, a policy works but for what is left."""
    if not _problem({**asked, "length": MAX_LENGTH}):
        return "length"
    return "classes" if _problem({**asked, "length": MAX_LENGTH, "exclude": ""}) else "exclude"


def _problem(asked: dict[str, Any]) -> InvalidRequestError | None:
    try:
        Policy(**asked)
    except InvalidRequestError as error:
        return error.with_traceback(None)
    return None
