"""The object's WebSockets. The host owns them: they stay open while the object is not in memory.

What a turn does with them is part of the turn: messages leave when everything the turn wrote is on disk, and not at all
if it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Union

from . import _host
from ._host import data, number, text
from ._json import decode, encode
from .alarm import time
from .errors import LateError, WebSocketError

__all__ = ["Message", "WebSocket"]

Message = Union[str, bytes]
"""A text or a binary message of at most 32 MiB."""

_accept = _host.refused_as(WebSocketError, _host.websockets.accept)
_tags = _host.refused_as(WebSocketError, _host.websockets.tags)
_attachment = _host.refused_as(WebSocketError, _host.websockets.attachment)
_set_attachment = _host.refused_as(WebSocketError, _host.websockets.set_attachment)
_send = _host.refused_as(WebSocketError, _host.websockets.send)
_broadcast = _host.refused_as(WebSocketError, _host.websockets.broadcast)
_buffered = _host.refused_as(WebSocketError, _host.websockets.buffered)
_close = _host.refused_as(WebSocketError, _host.websockets.close)
_set_auto_response = _host.refused_as(WebSocketError, _host.websockets.set_auto_response)
_hold_for = _host.refused_as(LateError, _host.later.hold_for)
_auto_response_time = _host.refused_as(WebSocketError, _host.websockets.auto_response_time)

_unopened: dict[int, list[Callable[[], None]]] = {}
"""What is to be done to WebSockets that are open only when their requests are answered, which is in a later turn."""


class WebSocket:
    """One of the object's WebSockets. Two of these are equal if they stand for the same one."""

    __slots__ = ("id",)

    id: int
    """Rises in the order of acceptance; never used again."""

    def __init__(self, id: int) -> None:
        self.id = id

    def send(self, message: Message) -> None:
        """Send a message. A peer that is too slow to take what is sent to it is closed with code 1013."""
        self._once_open(_send, pack(message))

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close it, after what was sent.

        The code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, the reason at most 123 bytes. The close event comes
        when the peer has answered.
        """
        self._once_open(_close, code if code is None else number(code, 16), text(reason))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it was accepted with, sorted."""
        return tuple(_tags(self.id))

    @property
    def attachment(self) -> Any:
        """What the object wants to know of this peer in every turn: a value as in storage, of at most 16 KiB.

        `None` if there is nothing; setting it to `None` removes it.
        """
        value = _attachment(self.id)
        return None if value is None else decode(value)

    @attachment.setter
    def attachment(self, value: Any) -> None:
        self._once_open(_set_attachment, None if value is None else encode(value))

    @property
    def attachment_bytes(self) -> bytes | None:
        """The attachment as it is; what was set here is read here."""
        return _attachment(self.id)

    @attachment_bytes.setter
    def attachment_bytes(self, value: bytes | None) -> None:
        self._once_open(_set_attachment, value if value is None else data(value))

    @property
    def buffered(self) -> int:
        """Bytes of messages that have left their turns and wait for the peer to take them."""
        return _buffered(self.id)

    @property
    def auto_response_time(self) -> datetime | None:
        """When the host last answered on this WebSocket for the object; `None` if it never has."""
        millis = _auto_response_time(self.id)
        return None if millis is None else time(millis)

    def _once_open(self, act: Callable[..., None], *arguments: Any) -> None:
        if self.id in _unopened:
            _unopened[self.id].append(lambda: act(self.id, *arguments))
        else:
            act(self.id, *arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebSocket) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<WebSocket {self.id}>"


def accept(tags: Iterable[str]) -> WebSocket:
    """Accepts the WebSocket that the turn's request asks for."""
    return WebSocket(_accept([*map(text, tags)]))


def hold_back(socket: WebSocket) -> None:
    """The WebSocket is open only when its request is answered: keeps what is done to it until then."""
    _unopened[socket.id] = []


def let_go(socket: WebSocket) -> None:
    """The request of a WebSocket is answered: does what was kept."""
    for act in _unopened.pop(socket.id, ()):
        try:
            act()
        except WebSocketError as refusal:
            # It was not opened, by the class or because the response is not valid.
            if refusal.case != "unknown-socket":
                raise


def hold_for(socket: WebSocket) -> None:
    """Keeps the instance in memory as long as it is open."""
    socket._once_open(_hold_for)


def sockets(tag: str | None) -> list[WebSocket]:
    """The open ones with this tag, or all of them; oldest first."""
    return [WebSocket(id) for id in _host.websockets.sockets(tag and text(tag))]


def broadcast(message: Message, tag: str | None) -> int:
    """Sends a message to the open ones with this tag, or to all of them; returns how many there are."""
    return _broadcast(tag and text(tag), pack(message))


def auto_response() -> tuple[str, str] | None:
    """What the host answers for the object: a request, and the response to it."""
    pair = _host.websockets.auto_response()
    return None if pair is None else (pair.request, pair.response)


def set_auto_response(request: str, response: str) -> None:
    """Has the host answer one message for the object."""
    _set_auto_response(_host.websockets.AutoResponsePair(text(request), text(response)))


def clear_auto_response() -> None:
    """Ends that."""
    _set_auto_response(None)


def pack(message: Message) -> Any:
    """A message of the contract."""
    if isinstance(message, str):
        return _host.websockets.Message_Text(text(message))
    return _host.websockets.Message_Binary(data(message))
