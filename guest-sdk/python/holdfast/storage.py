"""The object's storage: keys with values, and what concerns all of it, the tables of `holdfast.sql` included.

The turn is the transaction: what a handler writes stays if it returns and is gone if it raises. Reads see what the turn
has written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from . import _host, _section
from ._batches import Batches
from ._host import data, number, text
from ._json import decode, encode
from .errors import StorageError

__all__ = ["Storage", "Transaction"]

Value = TypeVar("Value")

_get = _host.refused_as(StorageError, _host.key_value.get)
_get_many = _host.refused_as(StorageError, _host.key_value.get_many)
_put = _host.refused_as(StorageError, _host.key_value.put)
_put_many = _host.refused_as(StorageError, _host.key_value.put_many)
_delete = _host.refused_as(StorageError, _host.key_value.delete)
_delete_many = _host.refused_as(StorageError, _host.key_value.delete_many)
_list = _host.refused_as(StorageError, _host.key_value.list)
_next = _host.refused_as(StorageError, _host.key_value.Entries.next)
_open_savepoint = _host.refused_as(StorageError, _host.storage.open_savepoint)
_keep = _host.refused_as(StorageError, _host.storage.Savepoint.keep)
_undo = _host.refused_as(StorageError, _host.storage.Savepoint.undo)
_size = _host.refused_as(StorageError, _host.storage.size)
_delete_all = _host.refused_as(StorageError, _host.storage.delete_all)
_sync = _host.refused_as(StorageError, _host.storage.sync)


class Storage:
    """An ordered map from strings to values, kept on disk; ordered by the keys' UTF-8 bytes.

    A value is what JSON can say: `None`, `bool`, `int` of any size, `float`, `str`, and lists and dicts of these. It is
    stored as JSON, so tuples come back as lists and the keys of dicts as strings. Bytes are kept as they are by the
    methods with `bytes` in their names; a key that was written with one kind is read with the same.

    A key is 1 to 2,048 bytes, key and value together are at most 2,000,000 bytes, and the methods on many keys take up
    to 128.

    ```python
    storage["config"] = {"limit": 10}
    n = storage.get("n", 0)
    for key, score in storage.list(prefix="score:", reverse=True, limit=10):
        ...
    ```
    """

    __slots__ = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` if there is none."""
        value = _get(text(key))
        return default if value is None else decode(value)

    def put(self, key: str, value: Any) -> None:
        """Set the value of a key, in place of any it had."""
        _put(text(key), encode(value))

    def delete(self, key: str) -> bool:
        """Remove a key; true if it was there."""
        return _delete(text(key))

    def __getitem__(self, key: str) -> Any:
        value = _get(text(key))
        if value is None:
            raise KeyError(key)
        return decode(value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if not _delete(text(key)):
            raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return _get(text(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.list_bytes())

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of up to 128 keys, those that exist, in the order of the keys."""
        return {entry.key: decode(entry.value) for entry in _get_many([*map(text, keys)])}

    def put_many(self, entries: Mapping[str, Any]) -> None:
        """Set up to 128 keys, all or none."""
        self.put_many_bytes({key: encode(value) for key, value in entries.items()})

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove up to 128 keys, all or none; returns how many of them existed."""
        return _delete_many([*map(text, keys)])

    def list(
        self,
        *,
        prefix: str | None = None,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """The entries in a range: all of them, or as far as the arguments say.

        Their keys begin with `prefix`, are `start` or later, or later than `start_after` (not both), and before `end`.
        They come in the order of their keys, or the other way round with `reverse`, and are read in batches: a long
        list is never in memory as a whole. What the turn writes while it reads shows up in the batches to come.
        """
        return self._entries(decode, prefix, start, start_after, end, reverse, limit)

    def get_bytes(self, key: str) -> bytes | None:
        """The value of a key as it is, or `None` if there is none."""
        return _get(text(key))

    def put_bytes(self, key: str, value: bytes) -> None:
        """Set the value of a key to these bytes."""
        _put(text(key), data(value))

    def get_many_bytes(self, keys: Iterable[str]) -> dict[str, bytes]:
        """As `get_many`, not decoded."""
        return {entry.key: entry.value for entry in _get_many([*map(text, keys)])}

    def put_many_bytes(self, entries: Mapping[str, bytes]) -> None:
        """As `put_many`, not encoded."""
        _put_many([_host.key_value.Entry(text(key), data(value)) for key, value in entries.items()])

    def list_bytes(
        self,
        *,
        prefix: str | None = None,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[str, bytes]]:
        """As `list`, not decoded."""
        return self._entries(_as_it_is, prefix, start, start_after, end, reverse, limit)

    def transaction(self) -> Transaction:
        """A part of the turn that counts as a whole or not at all: undone if an exception leaves it.

        This is for handlers that mean to go on after an error. Those that let it out need no transaction: the turn is
        one. Transactions can be inside each other, up to 32 deep. The attributes of the object are memory and are not
        undone.

        ```python
        try:
            with self.ctx.storage.transaction():
                self.deposit(to, amount)
                self.withdraw(source, amount)
        except Overdrawn as error:
            return Response.error(409, str(error))
        ```
        """
        return Transaction()

    def size(self) -> int:
        """Bytes that keys and tables take together, with what this turn has written: pages of 4,096."""
        return _size()

    def delete_all(self) -> None:
        """Remove everything that is stored, keys, tables and the alarm, at once whatever its size.

        Not inside a transaction. What the turn stores afterwards stays; if that is nothing, the object ceases to exist.
        Tables that `__init__` made are gone, too: an object that goes on makes them again.
        """
        _delete_all()

    def sync(self) -> None:
        """Make what the turn has written so far durable: it stays even if the turn fails later.

        Not inside a transaction. Answers wait for the disk by themselves. This is for what must not be lost once
        it is visible outside.
        """
        _sync()

    def _entries(self, read: Callable[[bytes], Value], *options: Any) -> Iterator[tuple[str, Value]]:
        # Opened here and not in the generator, so that options which contradict each other are an error of the call.
        *keys, reverse, limit = options
        prefix, start, start_after, end = (key if key is None else text(key) for key in keys)
        limit = limit if limit is None else number(limit, 32)
        entries = _list(_host.key_value.ListOptions(start, start_after, end, prefix, bool(reverse), limit))
        return _read(Batches(entries, _next, _bytes), read)


class Transaction:
    """What `Storage.transaction` makes: a context manager for one `with`."""

    __slots__ = ("_savepoint", "_section")

    def __enter__(self) -> Transaction:
        self._savepoint = _open_savepoint()
        self._section = _section.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _section.leave(self._section)
        with self._savepoint as savepoint:
            if kind is None:
                _keep(savepoint)
            else:
                _undo(savepoint)


def _read(batches: Batches, read: Callable[[bytes], Value]) -> Iterator[tuple[str, Value]]:
    while batch := batches.next():
        for entry in batch:
            yield entry.key, read(entry.value)


def _bytes(batch: list[Any]) -> int:
    return sum(len(entry.key) + len(entry.value) for entry in batch)


def _as_it_is(value: bytes) -> bytes:
    return value
