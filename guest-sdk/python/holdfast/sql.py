"""The object's own SQLite database, with FTS5, R-Tree, JSON and mathematical functions, and foreign keys on.

The turn is the transaction, so BEGIN and its kin are refused; `Storage.transaction` is for undoing a part of a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, ClassVar, Union

from . import _host
from ._batches import Batches
from ._host import text
from .errors import sql_error

__all__ = ["Cursor", "Row", "Sql", "SqlValue"]

SqlValue = Union[None, int, float, str, bytes]
"""What SQLite stores. An `int` has 64 bits with sign; a `bool` is stored as 0 or 1."""

_exec = _host.refused_as(sql_error, _host.packed_sql.exec)
_next = _host.refused_as(sql_error, _host.packed_sql.next)


class Row(tuple[Any, ...]):
    """One row: a tuple whose items also have the names of the columns.

    ```python
    id, title = row
    row[1] == row["title"]
    dict(row) == {"id": id, "title": title}
    ```

    Of columns with the same name, the last one has it.
    """

    __slots__ = ()
    _places: ClassVar[dict[str, int]]

    def keys(self) -> list[str]:
        """The names of the columns, each once."""
        return list(self._places)

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(self._places[place] if isinstance(place, str) else place)


class Cursor:
    """The result of a statement: an iterator over its rows, which it reads in batches.

    A loop over a million rows needs no more memory than one over a thousand. It ends with the turn; if a
    handler that uses it waits, what it has left is read into memory, at most 8 MiB in a turn.
    """

    columns: tuple[str, ...]
    """The names of the columns; empty for a statement that returns no rows."""
    changes: int
    """Rows inserted, updated or deleted by all statements of the call, without those of triggers."""
    last_insert_rowid: int
    """The rowid of the object's last successful insert."""

    __slots__ = ("_rows", "changes", "columns", "last_insert_rowid")

    def __init__(self, result: Any) -> None:
        self.changes = result.changes
        self.last_insert_rowid = result.last_insert_rowid
        self.columns = ()
        self._rows: Iterator[Row] = iter(())
        if result.packed is not None:
            self.columns, row, start = _head(result.packed)
            more = None if result.more is None else Batches(result.more, _next, len)
            self._rows = _rows(row, len(self.columns), result.packed, start, more)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __next__(self) -> Row:
        return next(self._rows)

    def fetchone(self) -> Row | None:
        """The next row; `None` if there is none."""
        return next(self._rows, None)

    def fetchall(self) -> list[Row]:
        """All remaining rows."""
        return list(self._rows)

    def one(self) -> Row:
        """The only row. More or less than one is a `LookupError`."""
        row, more = next(self._rows, None), next(self._rows, None)
        if row is None or more is not None:
            raise LookupError("the statement returned " + ("no row" if row is None else "more than one row"))
        return row


class Sql:
    """The object's own SQLite database.

    ```python
    sql.execute("INSERT INTO note (title) VALUES (?)", title)
    for row in sql.execute("SELECT id, title FROM note ORDER BY id"):
        print(row["title"])
    ```
    """

    __slots__ = ()

    def execute(self, statements: str, *parameters: SqlValue) -> Cursor:
        """Run one or more statements. The last one takes the parameters and returns the rows.

        They have at most 100,000 bytes, with at most 100 parameters, which must fit exactly.
        """
        return Cursor(_exec(text(statements), [_CASES.get(type(value), _case_of_other)(value) for value in parameters]))


def _integer(value: int) -> Any:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} has more than the 64 bits of an SQL integer")
    return _host.sql.Value_Integer(int(value))


_CASES: dict[type, Callable[[Any], Any]] = {
    type(None): lambda _: _host.sql.Value_Null(),
    bool: _integer,
    int: _integer,
    float: _host.sql.Value_Real,
    str: lambda value: _host.sql.Value_Text(text(value)),
    bytes: _host.sql.Value_Blob,
    bytearray: lambda value: _host.sql.Value_Blob(bytes(value)),
    memoryview: lambda value: _host.sql.Value_Blob(bytes(value)),
}


def _case_of_other(value: Any) -> Any:
    """For what derives from a type that SQLite stores, such as an `IntEnum`."""
    for kind, case in _CASES.items():
        if isinstance(value, kind):
            return case(value)
    raise TypeError(f"SQLite stores no {type(value).__name__}: pass None, int, float, str or bytes")


# The encoding is that of `wit/packed-sql.wit`.
_INTEGER = Struct("<q").unpack_from
_REAL = Struct("<d").unpack_from
_LENGTH = Struct("<I").unpack_from
_NULL_TAG, _INTEGER_TAG, _REAL_TAG, _TEXT_TAG = range(4)


@lru_cache(maxsize=256)
def _row_type(columns: tuple[str, ...]) -> type[Row]:
    # A type for each set of columns costs a lookup per statement, and rows stay as small and as fast as tuples.
    return type("Row", (Row,), {"__slots__": (), "_places": {name: place for place, name in enumerate(columns)}})


def _head(result: bytes) -> tuple[tuple[str, ...], type[Row], int]:
    """The columns, the type of their rows, and where the rows begin."""
    names: list[str] = []
    (count,), at = _LENGTH(result, 0), 4
    for _ in range(count):
        end = at + 5 + _LENGTH(result, at + 1)[0]
        names.append(str(result[at + 5 : end], "utf-8"))
        at = end
    columns = tuple(names)
    return columns, _row_type(columns), at


def _rows(row: type[Row], width: int, batch: bytes, start: int, more: Batches | None) -> Iterator[Row]:
    while True:
        values = _values(batch, start)
        for first in range(0, len(values), width):
            yield row(values[first : first + width])
        if more is None:
            return
        batch, start = more.next(), 0
        if not batch:
            return


def _values(batch: bytes, at: int) -> list[SqlValue]:
    values: list[SqlValue] = []
    add = values.append
    while at < len(batch):
        tag = batch[at]
        if tag == _INTEGER_TAG:
            add(_INTEGER(batch, at + 1)[0])
            at += 9
        elif tag == _NULL_TAG:
            add(None)
            at += 1
        elif tag == _REAL_TAG:
            add(_REAL(batch, at + 1)[0])
            at += 9
        else:
            start = at + 5
            at = start + _LENGTH(batch, at + 1)[0]
            add(str(batch[start:at], "utf-8") if tag == _TEXT_TAG else batch[start:at])
    return values
