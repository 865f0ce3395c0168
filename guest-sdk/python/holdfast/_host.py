"""The contract's interfaces (`wit/`) as componentize-py generates them, imported in this module only.

Outside of a component there is no host. A class can still be imported there, which is how it is built, checked and
tested: only a call of the host is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Parameters = TypeVarTuple("Parameters")

__all__ = [
    "Err",
    "alarms",
    "data",
    "http_types",
    "identity",
    "key_value",
    "later",
    "logging",
    "number",
    "packed_sql",
    "readable",
    "refused_as",
    "sql",
    "storage",
    "text",
    "types",
    "websockets",
]

Result = TypeVar("Result")


class _NoHost:
    """Stands for what only a component has, whatever its name."""

    def __getattr__(self, name: str) -> _NoHost:
        return self

    def __call__(self, *_: Any) -> NoReturn:
        raise RuntimeError("only the host can answer this, and there is none outside of a component")


if TYPE_CHECKING or find_spec("wit_world"):
    # componentize-py looks for what a class exports when nothing can be imported any more.
    import wit_world.exports  # noqa: F401  # pyright: ignore[reportUnusedImport]
    import wit_world.imports.objects  # noqa: F401  # pyright: ignore[reportUnusedImport]
    import wit_world.imports.turn  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from componentize_py_types import Err
    from wit_world.imports import (
        alarms,
        http_types,
        identity,
        key_value,
        later,
        logging,
        packed_sql,
        sql,
        storage,
        types,
        websockets,
    )
else:
    alarms = http_types = identity = key_value = later = logging = packed_sql = _NoHost()
    sql = storage = types = websockets = _NoHost()

    class Err(Exception):
        """What the host raises when it refuses."""


def refused_as(
    error: Callable[[Any], Exception], function: Callable[[Unpack[Parameters]], Result]
) -> Callable[[Unpack[Parameters]], Result]:
    """A function of the host whose refusals are raised as this error, made of the contract's error."""

    def call(*arguments: Unpack[Parameters]) -> Result:
        try:
            return function(*arguments)
        except Err as refusal:  # pyright: ignore[reportUnknownVariableType]
            raise error(refusal.value) from None  # pyright: ignore[reportUnknownMemberType]

    return call


# What does not fit the contract is an error here. There it would be a trap, which knows no Python.


def text(value: str) -> str:
    """A text that the contract can carry: not half of a surrogate pair, which JSON can hold."""
    if not value.isascii():
        value.encode()
    return value


def data(value: bytes) -> bytes:
    """Bytes, of whatever holds some."""
    return value if type(value) is bytes else memoryview(value).tobytes()


def number(value: int, bits: int) -> int:
    """A number of so many bits, without sign."""
    if not 0 <= index(value) < 1 << bits:
        raise OverflowError(f"{value} is not from 0 to {(1 << bits) - 1}")
    return value


def readable(value: str) -> str:
    """As much of a text as the contract can carry, for what must not fail."""
    return value if value.isascii() else value.encode(errors="replace").decode()
