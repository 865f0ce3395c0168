"""What a class derives from (`DurableObject`), and what its objects are given (`Context`)."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from types import TracebackType

from . import _host, _section, websocket
from .alarm import AlarmClock, AlarmInfo
from .http import Request, Response
from .sql import Sql
from .storage import Storage
from .websocket import Message, WebSocket

__all__ = ["Context", "DurableObject", "Exclusive"]


class Context:
    """What an object has of its own: who it is, its storage, its database, its alarm, its WebSockets."""

    __slots__ = ("alarm", "sql", "storage")

    def __init__(self) -> None:
        self.storage = Storage()
        self.sql = Sql()
        self.alarm = AlarmClock()

    @property
    def id(self) -> str:
        """The object's id: 64 lowercase hex digits, which never change."""
        return _host.identity.id()

    @property
    def name(self) -> str | None:
        """The name that the object was reached by; `None` if it was reached by its id only."""
        return _host.identity.name()

    @property
    def class_name(self) -> str:
        """The name of the object's class at this moment. Classes can be renamed; ids stay."""
        return _host.identity.class_()

    def accept_websocket(
        self, request: Request, tags: Iterable[str] = (), protocol: str | None = None
    ) -> tuple[WebSocket, Response]:
        """Accept the WebSocket that `request`, this turn's, asks for; `fetch` returns the response.

        It can be sent to at once, and is the object's when the turn has succeeded. After an `await` it is open when the
        response is sent, and what it was sent before follows then; until then its tags and its attachment cannot be
        read. Up to 10 tags of 1 to 256 bytes select it later; `protocol` is one of those that the client offers in the
        header `sec-websocket-protocol`.

        ```python
        ws, response = self.ctx.accept_websocket(request, tags=["lobby"])
        ws.send("welcome")
        return response
        ```
        """
        socket = websocket.accept(tags) if request.handler is None else request.handler.accept(tags)
        if protocol is None:
            return socket, Response(status=101)
        offered = request.headers.get("sec-websocket-protocol", "").split(",")
        if protocol not in map(str.strip, offered):
            raise ValueError(f"the client does not offer the protocol {protocol!r}")
        return socket, Response(status=101, headers={"sec-websocket-protocol": protocol})

    def hold_for(self, ws: WebSocket) -> None:
        """Keep this instance in memory as long as the WebSocket is open, unless its room is needed.

        If the instance is dropped nevertheless, the WebSocket is closed with code 1012, and its peer connects again.
        """
        websocket.hold_for(ws)

    def exclusive(self) -> Exclusive:
        """Keep all other events, tasks and timers of this object waiting, also while the handler waits.

        ```python
        async def fetch(self, request: Request) -> Response:
            with self.ctx.exclusive():
                await asyncio.sleep(1)
                return Response("nothing came between")
        ```

        After 30 s, or when nothing is left that it could wait for, the instance is dropped.
        """
        return Exclusive()

    def websockets(self, tag: str | None = None) -> list[WebSocket]:
        """The open WebSockets with this tag, or all of them: oldest first, without those that are closing."""
        return websocket.sockets(tag)

    def broadcast(self, message: Message, tag: str | None = None) -> int:
        """Send a message to all open WebSockets with this tag, or to all; returns how many there are."""
        return websocket.broadcast(message, tag)

    @property
    def auto_response(self) -> tuple[str, str] | None:
        """A text message, and the text that the host answers it with for the object, without waking it.

        Each has at most 2,048 bytes. Setting it to `None` ends that.
        """
        return websocket.auto_response()

    @auto_response.setter
    def auto_response(self, pair: tuple[str, str] | None) -> None:
        if pair is None:
            websocket.clear_auto_response()
        else:
            websocket.set_auto_response(*pair)


class Exclusive:
    """What `Context.exclusive` makes: a context manager for one `with`."""

    __slots__ = ("_section",)

    def __enter__(self) -> Exclusive:
        self._section = _section.enter(spans_turns=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _section.leave(self._section)


class DurableObject:
    """A class of durable objects: derive from it and define the handlers that the class has.

    The host makes at most one instance of an object and calls it with one event at a time. Each call is a **turn**: if
    it returns, everything it wrote and its answer become visible together; if it raises, nothing of it stays, and the
    instance is dropped if it wrote anything. Between turns an instance may be dropped at any time, so attributes are a
    cache: what must last goes to `ctx.storage` or `ctx.sql`.

    ```python
    class Counter(DurableObject):
        def fetch(self, request: Request) -> Response:
            n = self.ctx.storage.get("n", 0) + 1
            self.ctx.storage.put("n", n)
            return Response(str(n))
    ```

    Handlers are plain functions or coroutines (`async def`). One that waits for the outside is several turns: each is
    atomic, and others may come between them. The component exports those that the class defines, and no others.
    """

    ctx: Context

    def __init__(self, ctx: Context) -> None:
        """Called once per instance, as part of its first turn: the place to create tables, after
        `super().__init__(ctx)`.
        """
        self.ctx = ctx

    def fetch(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one HTTP request. Every class has this handler."""
        raise NotImplementedError

    def alarm(self, info: AlarmInfo) -> None | Awaitable[None]:
        """The alarm has come. If this raises, it is called again after 2, 4, 8, 16, 32 and 64 seconds, and no more."""

    def websocket_message(self, ws: WebSocket, message: Message) -> None | Awaitable[None]:
        """A message has come. If this raises, the WebSocket is closed with code 1011."""

    def websocket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None | Awaitable[None]:
        """The connection is over, no matter which side ended it. Tags and attachment can be read for the last time.

        `code` is 1005 if the peer sent none, and 1006 if it vanished.
        """

    def websocket_error(self, ws: WebSocket, error: str) -> None | Awaitable[None]:
        """Something went wrong with the connection, in words. Its close event follows."""
