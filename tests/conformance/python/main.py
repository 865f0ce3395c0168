"""The class of the conformance suite in Python: does what `docs/CONFORMANCE.md` says."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import holdfast
from holdfast import (
    AlarmInfo,
    Context,
    DurableObject,
    Failure,
    HostError,
    Message,
    Request,
    Response,
    SqlError,
    SqlValue,
    WebSocket,
    WebSocketError,
)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)
LEVELS = {
    "trace": holdfast.TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


class Undone(Exception):
    """Leaves a transaction that is to be undone."""


class Conformance(DurableObject):
    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.counter = 0
        self.topics: dict[str, list[asyncio.Future[str]]] = {}
        self.later: dict[str, asyncio.TimerHandle] = {}
        if (ctx.name or "").startswith("init"):
            inits = int(ctx.storage.get_bytes("inits") or b"0") + 1
            ctx.storage.put_bytes("inits", b"%d" % inits)
        if ctx.name == "init-fails":
            raise Failure("bad-name", "not to be made")

    async def fetch(self, request: Request) -> Response:
        if request.path.startswith("/echo"):
            return echo(request)
        match request.method, request.segments:
            case "GET", ("status", number):
                return Response(status=int(number), headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
            case "GET", ("accept", protocol, *tags):
                return self.accept(request, protocol, tags)
            case "GET", ("accept-held", protocol):
                return self.accept(request, protocol, [], holds=True)
            case "GET", ("accept-later", millis, protocol, *tags):
                await asyncio.sleep(int(millis) / 1000)
                return self.accept(request, protocol, tags)
            case "GET", ("refuse",):
                return Response(status=403)
            case "POST", ("run",):
                return Response(await Script(self, request.text()).run())
            case _:
                return Response.error(404, f"there is no {request.path}")

    def accept(self, request: Request, protocol: str, tags: list[str], holds: bool = False) -> Response:
        try:
            ws, response = self.ctx.accept_websocket(request, tags, None if protocol == "-" else protocol)
        except WebSocketError as refusal:
            return Response(f"error {refusal.case}\n", 409)
        if holds:
            self.ctx.hold_for(ws)
        return response

    async def alarm(self, info: AlarmInfo) -> None:
        self.add_event(f"alarm {(info.scheduled - EPOCH) // MILLISECOND} {info.retry_count}")
        script = self.ctx.storage.get_bytes("on-alarm")
        if script is not None:
            await Script(self, script.decode(), retry_count=info.retry_count).run()

    async def websocket_message(self, ws: WebSocket, message: Message) -> None:
        ws.send(await Script(self, message, socket=ws).run() if isinstance(message, str) else message)

    def websocket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        self.add_event(f"close {code} {write(reason)} {write_bool(was_clean)}")

    def websocket_error(self, ws: WebSocket, error: str) -> None:
        self.add_event("error")

    def add_event(self, line: str) -> None:
        events = self.ctx.storage.get_bytes("events") or b""
        self.ctx.storage.put_bytes("events", events + line.encode() + b"\n")


def echo(request: Request) -> Response:
    headers = {"x-method": request.method, "x-uri": request.uri, "content-type": "application/octet-stream"}
    if "x-case" in request.headers:
        headers["x-case"] = request.headers["x-case"]
    return Response(request.body, headers=headers)


class Script:
    """The lines of one request, message or alarm: what they do, and what they answer."""

    def __init__(self, conformance: Conformance, text: str, socket: WebSocket | None = None, retry_count: int | None = None) -> None:
        self.conformance = conformance
        self.ctx = conformance.ctx
        self.lines = iter([line for line in text.split("\n") if line])
        self.socket = socket
        self.retry_count = retry_count
        self.says_gone: str | None = None

    async def run(self) -> str:
        answers: list[str] = []
        try:
            for line in self.lines:
                command, *words = line.split(" ")
                waited = await self.wait(command, [unquote_to_bytes(word).decode(errors="replace") for word in words])
                answers += self.answers(command, words) if waited is None else [waited]
        except asyncio.CancelledError:
            if self.says_gone is not None:
                self.ctx.storage.put_bytes(self.says_gone, b"gone")
            raise
        return "".join(f"{answer}\n" for answer in answers)

    async def wait(self, command: str, words: list[str]) -> str | None:
        topics = self.conformance.topics
        match command, words:
            case "wait", [millis]:
                await asyncio.sleep(int(millis) / 1000)
            case "wait-for", [topic]:
                told = asyncio.get_running_loop().create_future()
                topics.setdefault(topic, []).append(told)
                return write(await told)
            case "wait-exclusive", [millis]:
                with self.ctx.exclusive():
                    await asyncio.sleep(int(millis) / 1000)
            case "on-gone", [key]:
                self.says_gone = key
            case "tell", [topic, text]:
                waiting = [told for told in topics.pop(topic, []) if not told.done()]
                for told in waiting:
                    told.set_result(text)
                return str(len(waiting))
            case _:
                return None
        return "ok"

    def answers(self, command: str, words: list[str]) -> Iterator[str]:
        match command:
            case "transaction":
                yield from self.transaction(words)
            case "uncaught":
                yield self.answer(words[0], words[1:])
            case "later":
                yield self.do_later(*words)
            case "cancel":
                timer = self.conformance.later.pop(words[0], None)
                if timer is not None:
                    timer.cancel()
                yield write_bool(timer is not None)
            case _:
                yield self.caught(command, words)

    def answers_to_end(self) -> Iterator[str]:
        """Runs the lines up to an `end`."""
        for line in self.lines:
            if line == "end":
                return
            command, *words = line.split(" ")
            yield from self.answers(command, words)

    def do_later(self, millis: str, name: str, command: str, *words: str) -> str:
        later = self.conformance.later

        def run() -> None:
            del later[name]
            self.answer(command, list(words))

        if earlier := later.get(name):
            earlier.cancel()
        later[name] = asyncio.get_running_loop().call_later(int(millis) / 1000, run)
        return "ok"

    def transaction(self, words: list[str]) -> Iterator[str]:
        undo = words == ["undo"]
        answers: list[str] = []
        try:
            with self.ctx.storage.transaction():
                answers += self.answers_to_end()
                if undo:
                    raise Undone
        except Undone:
            pass
        yield from answers
        yield "undone" if undo else "kept"

    def caught(self, command: str, words: list[str]) -> str:
        try:
            return self.answer(command, words)
        except HostError as refusal:
            words = ["error", refusal.case]
            if isinstance(refusal, SqlError) and refusal.sqlite_code is not None:
                words += [str(refusal.sqlite_code), write(refusal.value.message)]
            return " ".join(words)

    def answer(self, command: str, words: list[str]) -> str:
        arguments = [unquote_to_bytes(word) for word in words]
        for commands in (
            self.identity,
            self.key_value,
            self.sql,
            self.whole,
            self.alarm,
            self.sockets,
            self.others,
        ):
            answer = commands(command, arguments)
            if answer is not None:
                return answer
        raise Failure("bad-script", f"there is no command {command} with {len(words)} words")

    def identity(self, command: str, arguments: list[bytes]) -> str | None:
        match command, arguments:
            case "id", []:
                return self.ctx.id
            case "name", []:
                name = self.ctx.name
                return "none" if name is None else f"some {write(name)}"
            case "class", []:
                return self.ctx.class_name
            case "count", []:
                self.conformance.counter += 1
                return str(self.conformance.counter)
        return None

    def key_value(self, command: str, arguments: list[bytes]) -> str | None:
        storage = self.ctx.storage
        match command, arguments:
            case "get", [key]:
                return write_option(storage.get_bytes(key.decode()))
            case "put", [key, value]:
                storage.put_bytes(key.decode(), value)
                return "ok"
            case "delete", [key]:
                return write_bool(storage.delete(key.decode()))
            case "get-many", keys:
                return write_entries(storage.get_many_bytes(map(bytes.decode, keys)).items())
            case "put-many", entries:
                pairs = zip(entries[::2], entries[1::2], strict=True)
                storage.put_many_bytes({key.decode(): value for key, value in pairs})
                return "ok"
            case "delete-many", keys:
                return str(storage.delete_many(map(bytes.decode, keys)))
            case "list", options:
                return write_entries(storage.list_bytes(**dict(map(list_option, options))))
        return None

    def sql(self, command: str, arguments: list[bytes]) -> str | None:
        if not command.startswith("sql") or not arguments:
            return None
        cursor = self.ctx.sql.execute(arguments[0].decode(), *map(read_value, arguments[1:]))
        match command:
            case "sql":
                names = map(write, cursor.columns)
                values = (write_value(value) for row in cursor for value in row)
                return " ".join([str(len(cursor.columns)), *names, *values])
            case "sql-changes":
                return f"{cursor.changes} {cursor.last_insert_rowid}"
            case "sql-sum":
                rows = total = 0
                for row in cursor:
                    rows, total = rows + 1, total + row[0]
                return f"{rows} {total}"
        return None

    def whole(self, command: str, arguments: list[bytes]) -> str | None:
        storage = self.ctx.storage
        match command, arguments:
            case "size", []:
                return str(storage.size())
            case "delete-all", []:
                storage.delete_all()
                return "ok"
            case "sync", []:
                storage.sync()
                return "ok"
        return None

    def alarm(self, command: str, arguments: list[bytes]) -> str | None:
        alarm = self.ctx.alarm
        match command, arguments:
            case "alarm-get", []:
                when = alarm.get()
                return "none" if when is None else f"some {(when - EPOCH) // MILLISECOND}"
            case "alarm-set", [millis]:
                # As a span, because `datetime` ends with the year 9999.
                alarm.set(int(millis) * MILLISECOND - (datetime.now(timezone.utc) - EPOCH))
                return "ok"
            case "alarm-delete", []:
                alarm.delete()
                return "ok"
        return None

    def sockets(self, command: str, arguments: list[bytes]) -> str | None:
        match command, arguments:
            case "sockets", tag:
                return str(len(self.ctx.websockets(*map(bytes.decode, tag))))
            case "broadcast", [message, *tag]:
                return str(self.ctx.broadcast(read_message(message), *map(bytes.decode, tag)))
            case "auto-response", [request, response]:
                self.ctx.auto_response = request.decode(), response.decode()
                return "ok"
            case "auto-response", []:
                self.ctx.auto_response = None
                return "ok"
            case (("tags" | "attach" | "attachment" | "send" | "close"), [which, *rest]):
                ws = self.find_socket(which.decode())
                return "error unknown-socket" if ws is None else self.on_socket(command, ws, rest)
        return None

    def on_socket(self, command: str, ws: WebSocket, arguments: list[bytes]) -> str | None:
        match command, arguments:
            case "tags", []:
                return " ".join(map(write, ws.tags))
            case "attach", [value]:
                ws.attachment_bytes = value
                return "ok"
            case "attachment", []:
                return write_option(ws.attachment_bytes)
            case "send", [message]:
                ws.send(read_message(message))
                return "ok"
            case "close", [code, reason]:
                ws.close(int(code), reason.decode())
                return "ok"
        return None

    def find_socket(self, which: str) -> WebSocket | None:
        return self.socket if which == "@" else next(iter(self.ctx.websockets(which)), None)

    def others(self, command: str, arguments: list[bytes]) -> str | None:
        match command, [argument.decode() for argument in arguments]:
            case "fail", [code, message, retryable]:
                raise Failure(code, message, retryable == "true")
            case "fail-before", [number]:
                if self.retry_count is not None and self.retry_count < int(number):
                    raise Failure("too-early", "not yet")
            case "throw", [message]:
                throw(message)
            case "log", [level, message, *fields]:
                logging.log(LEVELS[level], "%s", message, extra=dict(zip(fields[::2], fields[1::2], strict=True)))
            case "print", [text]:
                print(text)
            case "print-error", [text]:
                print(text, file=sys.stderr)
            case "now", []:
                return str((datetime.now(timezone.utc) - EPOCH) // MILLISECOND)
            case "random", []:
                return f"{random.random()} {random.random()}"
            case _:
                return None
        return "ok"


def throw(message: str) -> None:
    def deeper() -> None:
        raise RuntimeError(message)

    deeper()


def list_option(word: bytes) -> tuple[str, Any]:
    name, _, value = word.decode().partition("=")
    match name:
        case "reverse":
            return name, True
        case "limit":
            return name, int(value)
    return name.replace("-", "_"), value


def read_value(word: bytes) -> SqlValue:
    kind, _, rest = word.partition(b":")
    match kind:
        case b"n":
            return None
        case b"i":
            return int(rest)
        case b"r":
            (real,) = struct.unpack(">d", bytes.fromhex(rest.decode()))
            return float(real)
        case b"t":
            return rest.decode()
        case b"b":
            return rest
    raise Failure("bad-script", f"no value: {word!r}")


def read_message(word: bytes) -> Message:
    kind, _, rest = word.partition(b":")
    return rest.decode() if kind == b"t" else rest


def write(word: str | bytes) -> str:
    return quote(word, safe="")


def write_value(value: SqlValue) -> str:
    match value:
        case None:
            return "n"
        case int():
            return f"i:{value}"
        case float():
            return f"r:{struct.pack('>d', value).hex()}"
        case str():
            return f"t:{write(value)}"
        case bytes():
            return f"b:{write(value)}"


def write_bool(value: bool) -> str:
    return "true" if value else "false"


def write_option(value: bytes | None) -> str:
    return "none" if value is None else f"some {write(value)}"


def write_entries(entries: Iterable[tuple[str, bytes]]) -> str:
    return " ".join(write(word) for entry in entries for word in entry)
