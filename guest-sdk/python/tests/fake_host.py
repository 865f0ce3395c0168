"""A host in memory, in the shape that componentize-py gives the contract: `install()` before `holdfast` is imported.

It keeps what it is given in plain attributes, for tests to read. Rollback, limits beyond the smallest, and durability
are the real host's, which the conformance suite tests.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
from dataclasses import dataclass, make_dataclass
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Err(Exception):
    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class Failure:
    code: str
    message: str
    retryable: bool


@dataclass
class Entry:
    key: str
    value: bytes


@dataclass
class ListOptions:
    start: str | None
    start_after: str | None
    end: str | None
    prefix: str | None
    reverse: bool
    limit: int | None


@dataclass
class ExecResult:
    changes: int
    last_insert_rowid: int
    packed: bytes | None
    more: Any


@dataclass
class SqliteError:
    code: int
    message: str


@dataclass
class AutoResponsePair:
    request: str
    response: str


@dataclass
class HttpRequest:
    method: str
    uri: str
    headers: list[tuple[str, bytes]]
    body: bytes


@dataclass
class HttpResponse:
    status: int
    headers: list[tuple[str, bytes]]
    body: bytes


class Level(Enum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


def case(name: str, has_value: bool = True) -> type[Any]:
    """A case of a variant, as it is generated."""
    return make_dataclass(name, ["value"] if has_value else [])


def refuse(case_name: str, *value: Any) -> Err:
    """What the host raises for a case such as `KeySize`."""
    return Err(case(f"Error_{case_name}", bool(value))(*value))


class Resource:
    """Something that is open. Leaving the `with` releases it."""

    is_open = True

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False


class Host:
    """What one object's host knows."""

    def __init__(self) -> None:
        self.name: str | None = "alice"
        self.keys: dict[str, bytes] = {}
        self.batches: list[int] = []
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.savepoints: list[Resource] = []
        self.alarm: int | None = None
        self.logged: list[tuple[Level, str, list[tuple[str, str]]]] = []
        self.sockets: dict[int, list[str]] = {}
        self.attachments: dict[int, bytes | None] = {}
        self.sent: list[tuple[Any, ...]] = []
        self.auto_response: AutoResponsePair | None = None
        self.last_token = 0
        self.interleaves = True
        self.resumes: dict[int, int | None] = {}
        self.deferred: dict[int, Any] = {}
        self.watched: dict[int, int] = {}
        self.held: list[int] = []
        self.exclusive: list[bool] = []
        self.drops = 0

    def token(self) -> int:
        self.last_token += 1
        return self.last_token


host = Host()


class Entries(Resource):
    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def next(self, most: int) -> list[Entry]:
        host.batches.append(most)
        batch, self.entries = self.entries[:most], self.entries[most:]
        return batch


class Savepoint(Resource):
    def __init__(self) -> None:
        self.before = dict(host.keys)
        host.savepoints.append(self)

    def keep(self) -> None:
        host.savepoints.remove(self)

    def undo(self) -> None:
        host.savepoints.remove(self)
        host.keys = self.before


class Cursor(Resource):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows


class KeyValue:
    Entry, ListOptions, Entries = Entry, ListOptions, Entries

    def get(self, key: str) -> bytes | None:
        if not key:
            raise refuse("KeySize", 0)
        return host.keys.get(key)

    def get_many(self, keys: list[str]) -> list[Entry]:
        return [Entry(key, host.keys[key]) for key in sorted(set(keys)) if key in host.keys]

    def put(self, key: str, value: bytes) -> None:
        if not key:
            raise refuse("KeySize", 0)
        host.keys[key] = value

    def put_many(self, entries: list[Entry]) -> None:
        host.keys.update({entry.key: entry.value for entry in entries})

    def delete(self, key: str) -> bool:
        return host.keys.pop(key, None) is not None

    def delete_many(self, keys: list[str]) -> int:
        return sum(self.delete(key) for key in keys)

    def list(self, options: ListOptions) -> Entries:
        if options.start is not None and options.start_after is not None:
            raise refuse("BadRange", "start and start-after")
        keys = [
            key for key in sorted(host.keys) if key.startswith(options.prefix or "") and key >= (options.start or "")
        ]
        keys = [key for key in keys if key > (options.start_after or "") and (options.end is None or key < options.end)]
        keys = keys[::-1] if options.reverse else keys
        return Entries([Entry(key, host.keys[key]) for key in keys[: options.limit]])


class PackedSql:
    """Gives two rows at first, so that every longer result has a cursor."""

    def exec(self, text: str, parameters: list[Any]) -> ExecResult:
        try:
            cursor = host.database.execute(text, [getattr(parameter, "value", None) for parameter in parameters])
            names = [column[0] for column in cursor.description or []]
            rows = cursor.fetchall()
        except sqlite3.IntegrityError as error:
            raise refuse("Constraint", SqliteError(2067, str(error))) from None
        except sqlite3.OperationalError as error:
            raise refuse("Sqlite", SqliteError(1, str(error))) from None
        head = struct.pack("<I", len(names)) + pack(names)
        packed = head + pack([value for row in rows[:2] for value in row]) if names else None
        more = Cursor(rows[2:]) if rows[2:] else None
        return ExecResult(max(cursor.rowcount, 0), cursor.lastrowid or 0, packed, more)

    def next(self, cursor: Cursor, most: int) -> bytes:
        host.batches.append(most)
        rows, cursor.rows = cursor.rows[:most], cursor.rows[most:]
        return pack([value for row in rows for value in row])


def pack(values: list[Any]) -> bytes:
    """The encoding of `wit/packed-sql.wit`, written independently of the SDK."""
    packed = b""
    for value in values:
        if value is None:
            packed += b"\0"
        elif isinstance(value, int):
            packed += b"\1" + value.to_bytes(8, "little", signed=True)
        elif isinstance(value, float):
            packed += b"\2" + struct.pack("<d", value)
        else:
            tag, data = (b"\3", value.encode()) if isinstance(value, str) else (b"\4", value)
            packed += tag + len(data).to_bytes(4, "little") + data
    return packed


class Sql:
    Value_Null = case("Value_Null", has_value=False)
    Value_Integer, Value_Real = case("Value_Integer"), case("Value_Real")
    Value_Text, Value_Blob = case("Value_Text"), case("Value_Blob")


class Storage:
    Savepoint = Savepoint
    open_savepoint = Savepoint

    def size(self) -> int:
        return 4096 * len(host.keys)

    def delete_all(self) -> None:
        if host.savepoints:
            raise refuse("SavepointOpen")
        host.keys = {}

    def sync(self) -> None:
        if host.savepoints:
            raise refuse("SavepointOpen")


class Alarms:
    def get(self) -> int | None:
        return host.alarm

    def set(self, millis: int) -> None:
        if not 0 < millis < 2**53:
            raise refuse("BadTime")
        host.alarm = millis

    def delete(self) -> None:
        host.alarm = None


class WebSockets:
    Message_Text, Message_Binary = case("Message_Text"), case("Message_Binary")
    AutoResponsePair = AutoResponsePair

    def accept(self, tags: list[str]) -> int:
        socket = len(host.sockets) + 1
        host.sockets[socket] = sorted(tags)
        return socket

    def sockets(self, tag: str | None) -> list[int]:
        return [socket for socket, tags in host.sockets.items() if tag is None or tag in tags]

    def tags(self, socket: int) -> list[str]:
        if socket not in host.sockets:
            raise refuse("UnknownSocket")
        return host.sockets[socket]

    def attachment(self, socket: int) -> bytes | None:
        return host.attachments.get(socket)

    def set_attachment(self, socket: int, attachment: bytes | None) -> None:
        host.attachments[socket] = attachment

    def send(self, socket: int, message: Any) -> None:
        host.sent.append((socket, type(message).__name__, message.value))

    def broadcast(self, tag: str | None, message: Any) -> int:
        host.sent.append((tag, type(message).__name__, message.value))
        return len(self.sockets(tag))

    def buffered(self, socket: int) -> int:
        return 0

    def close(self, socket: int, code: int | None, reason: str) -> None:
        if code == 1005:
            raise refuse("BadCode", code)
        host.sent.append((socket, "close", code, reason))

    def auto_response(self) -> AutoResponsePair | None:
        return host.auto_response

    def set_auto_response(self, pair: AutoResponsePair | None) -> None:
        host.auto_response = pair

    def auto_response_time(self, socket: int) -> int | None:
        return 1_500


class Later:
    """Late work. The turn's own deferred answer is the one that was deferred last and has no answer."""

    Answer_Response, Answer_Failed = case("Answer_Response"), case("Answer_Failed")
    Answer_Done = case("Answer_Done", has_value=False)

    def resume_after(self, milliseconds: int, holds: bool) -> int:
        token = host.token()
        host.resumes[token] = milliseconds
        return token

    def cancel(self, token: int) -> bool:
        return host.resumes.pop(token, self) is not self

    def defer(self) -> int:
        if not host.interleaves:
            raise refuse("NotDeferrable")
        token = host.token()
        host.deferred[token] = None
        return token

    def reply(self, deferred: int, answer: Any) -> None:
        if host.deferred.get(deferred, self) is not None:
            raise refuse("Gone")
        host.deferred[deferred] = answer

    def on_gone(self, deferred: int) -> int:
        token = host.token()
        host.watched[token] = deferred
        return token

    def accept(self, deferred: int, tags: list[str]) -> int:
        return WebSockets().accept([*tags, f"deferred {deferred}"])

    def hold_for(self, socket: int) -> None:
        host.held.append(socket)

    def exclusive(self, on: bool) -> None:
        host.exclusive.append(on)

    def drop_instance(self) -> None:
        host.drops += 1


class Identity:
    def id(self) -> str:
        return "0" * 64

    def name(self) -> str | None:
        return host.name

    def class_(self) -> str:
        return "counter"


class Logging:
    Level = Level

    def log(self, level: Level, message: str, fields: list[tuple[str, str]]) -> None:
        host.logged.append((level, message, fields))


class HttpTypes:
    Request, Response = HttpRequest, HttpResponse


class Types:
    Failure = Failure


def module(name: str, **members: Any) -> None:
    """Makes a module importable."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, is_package=True)
    made.__path__ = []
    vars(made).update(members)
    sys.modules[name] = made


def install() -> None:
    """Makes the modules of a component importable; once."""
    if "wit_world" in sys.modules:
        return
    # The search for tests imports the package by itself, before there is a host.
    for name in [name for name in sys.modules if name.partition(".")[0] == "holdfast"]:
        del sys.modules[name]
    module("componentize_py_types", Err=Err)
    module("wit_world")
    module("wit_world.exports")
    module(
        "wit_world.imports",
        alarms=Alarms(),
        http_types=HttpTypes,
        identity=Identity(),
        key_value=KeyValue(),
        later=Later(),
        logging=Logging(),
        packed_sql=PackedSql(),
        sql=Sql(),
        storage=Storage(),
        types=Types,
        websockets=WebSockets(),
    )
    # No part of the SDK uses them.
    for unused in ("objects", "turn"):
        module(f"wit_world.imports.{unused}")


def reset() -> Host:
    """Another object's host, in place of the one before."""
    host.__init__()  # type: ignore[misc]
    return host
