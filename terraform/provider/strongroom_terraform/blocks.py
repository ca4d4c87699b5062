"""What the provider's parts implement: Terraform's life cycles without its wire.

The service (`service.py`) calls these in threads of its own, several at once. It gives and takes whole
attribute maps; whatever they return, it puts null in the place of every write-only attribute, so that no
mistake made here can bring a value into state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from .problems import Diagnostic
from .schema import Schema, Type, Value, Values

if TYPE_CHECKING:
    from .stores import Stores


class Block(ABC):
    """One thing that a configuration names.

    Args:
        stores: what the provider was configured with. At `validate` nothing is configured yet.
    """

    name: ClassVar[str]
    schema: ClassVar[Schema]

    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        """What is wrong with a configuration, as far as it is known; values may be UNKNOWN."""
        return ()


@dataclass(frozen=True, slots=True)
class State:
    """What Terraform keeps of one object.

    Attributes:
        values: every attribute; write-only ones are None.
        private: bytes that Terraform keeps and never shows; still in state in clear, so never a value.
        warnings: to be told with it.
    """

    values: Values
    private: bytes = b""
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan or an apply starts from.

    Attributes:
        config: as written; the only place where write-only values are, and they may be UNKNOWN at plan.
        prior: the state before; None when the object is made.
        planned: at plan what Terraform proposes (computed attributes as in `prior`, or None); at apply what
            was planned.
        private: of the state before; at apply what the plan returned.
    """

    config: Values
    prior: Values | None
    planned: Values
    private: bytes = b""


class Resource(Block):
    """An object with a life: planned, made, read, changed, deleted, imported.

    An error raised while it is made leaves nothing in state, unless it is `PartlyDoneError`.
    """

    def plan(self, change: Change) -> State:
        """What the object will be; what only apply can know is UNKNOWN. Not asked when it is to be deleted.

        By default what Terraform proposes, with every computed attribute that the configuration does not say
        UNKNOWN when the object is made, or when anything that the configuration says differs from `prior`.
        Attributes with `replace` need nothing here.
        """
        from .planning import proposed

        return State(proposed(self.schema, change), change.private)

    @abstractmethod
    def create(self, change: Change) -> State:
        """Make it; may be called again after a crash that Terraform knows nothing of."""

    @abstractmethod
    def read(self, values: Values, private: bytes) -> State | None:
        """What it is now; None when it is gone. After `bring` most of `values` are None."""

    @abstractmethod
    def update(self, change: Change) -> State:
        """Change it in place."""

    @abstractmethod
    def delete(self, values: Values, private: bytes) -> None:
        """Let it go; done already is done."""

    @abstractmethod
    def bring(self, identity: str) -> State:
        """``terraform import ADDRESS IDENTITY``: what `read` needs to find it."""


class PartlyDoneError(Exception):
    """Part of a change was done: `state` is kept, and `diagnostics` say what was not.

    Raised by `create` it makes the object tainted: the next apply deletes it and makes it anew.
    UNKNOWN in `state` is kept as None.
    """

    def __init__(self, state: State, *diagnostics: Diagnostic) -> None:
        super().__init__(diagnostics[0].summary)
        self.state, self.diagnostics = state, diagnostics


class DataSource(Block):
    """What is read at plan where all that it is asked by is known. Its answer stands in state in clear."""

    @abstractmethod
    def read(self, config: Values) -> Values:
        """All attributes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An ephemeral object.

    Attributes:
        values: every attribute; sensitive ones as `SecretValue`. Never stored by Terraform.
        renew_at: when Terraform asks again, or None.
        private: given back to `renew` and `close`; in Terraform's memory only.
        warnings: to be told with it.
    """

    values: Values
    renew_at: datetime | None = None
    private: bytes = b""
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewed:
    """Attributes: as of `Opened`, and what to tell."""

    renew_at: datetime | None = None
    private: bytes = b""
    warnings: tuple[Diagnostic, ...] = ()


class Ephemeral(Block):
    """A value for as long as one plan or apply takes; opened in both. Terraform waits with one whose
    configuration is not known yet until apply."""

    @abstractmethod
    def open(self, config: Values) -> Opened:
        """Make or fetch it."""

    def renew(self, private: bytes) -> Renewed:
        """It is still needed."""
        return Renewed(private=private)

    def close(self, private: bytes) -> Sequence[Diagnostic] | None:
        """It is not needed any more; what is to be told of it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function."""

    name: str
    type: Type
    description: str


class Function(ABC):
    """A pure function, ``provider::strongroom::NAME``; works without any configuration."""

    name: ClassVar[str]
    summary: ClassVar[str]
    parameters: ClassVar[Sequence[Parameter]]
    variadic: ClassVar[Parameter | None] = None
    returns: ClassVar[Type]

    @abstractmethod
    def call(self, *arguments: Value) -> Value:
        """The result; a `FunctionProblemError` names the argument that is wrong."""


class FunctionProblemError(Exception):
    """An argument of a function is wrong; `argument` is its position."""

    def __init__(self, message: str, argument: int) -> None:
        super().__init__(message)
        self.argument = argument


@dataclass(frozen=True, slots=True)
class Provider:
    """All that the provider has, for `service.py` to serve; the schema stand-ins of tests make their own.

    Attributes:
        schema: of the provider block.
        configure: makes what blocks get as `stores`; raises `ProblemError`.
    """

    schema: Schema
    configure: Callable[[Values], Stores]
    resources: Sequence[type[Resource]] = field(default=())
    data_sources: Sequence[type[DataSource]] = field(default=())
    ephemerals: Sequence[type[Ephemeral]] = field(default=())
    functions: Sequence[type[Function]] = field(default=())
