"""Turns of a class that can wait: runs a handler, and all tasks that can go on, until the turn has nothing more to do.

Owns: when a turn is over, which handlers are suspended, and how each of them is answered. Imported only for a class
with coroutines, so that no other one pays for it.

What must stay true: a turn ends only while no transaction is open; while `Context.exclusive` is, the host lets no
events in; each suspended handler is answered once; a turn that fails without having stored anything leaves what other
handlers and timers wait for.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import events
from collections.abc import Callable, Iterable
from typing import Any

from . import _batches, _host, _section, websocket
from ._failure import failure
from ._host import text
from ._loop import Loop
from .errors import Failure, LateError
from .http import Request

__all__ = ["install", "resume", "run"]

_MOST_WATCHED = 999
"""How many callers are watched for going away: one of the host's 1,000 resumes is left for the timers."""

_defer = _host.refused_as(LateError, _host.later.defer)
_reply = _host.refused_as(LateError, _host.later.reply)
_accept = _host.refused_as(LateError, _host.later.accept)
_on_gone = _host.refused_as(LateError, _host.later.on_gone)

_loop = Loop()
_suspended: set[_Handler] = set()
_settled: list[_Handler] = []
"""Handlers that were suspended and have ended since, in that order."""
_watched: dict[int, _Handler] = {}
"""Suspended handlers by the token that says that their callers have gone."""
_interleaves: bool | None = None
"""Whether the class lets handlers defer their answers; unknown until one wants to."""
_is_exclusive = False
"""Whether the host keeps other events out."""


class _Handler:
    """A handler from the beginning of its turn to its answer."""

    def __init__(self, to_answer: Callable[[Any], Any], request: Request | None) -> None:
        self._to_answer = to_answer
        self._is_request = request is not None
        self._socket: websocket.WebSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone: int | None = None
        self._has_gone = False
        self.is_over = False
        # That of its deferred answer, if it is suspended.
        self.token: Any = None
        self.value: Any = None
        self.error: BaseException | None = None
        if request is not None:
            request.handler = self

    def begin(self, handler: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Calls the method of the class. A coroutine begins with what is ready next."""
        try:
            result = handler(*arguments)
            if inspect.isawaitable(result):
                self._task = _loop.create_task(self._await(result))
                return
            self.value = self._to_answer(result)
        except BaseException as error:
            self.error = error
        self.is_over = True

    async def _await(self, result: Any) -> None:
        try:
            self.value = self._to_answer(await result)
        except BaseException as error:
            self.error = error
        self.is_over = True
        if self.token is not None:
            _suspended.discard(self)
            _settled.append(self)

    def suspend(self) -> bool:
        """Has it answered in a later turn. False if it must be answered in this one."""
        global _interleaves
        if _interleaves is False:
            return False
        try:
            self.token = _defer()
        except LateError as refusal:
            if refusal.case == "not-deferrable":
                _interleaves = False
            return False
        _interleaves = True
        if self._socket is not None:
            websocket.hold_back(self._socket)
        if self.is_over:
            _settled.append(self)
        else:
            _suspended.add(self)
            self._watch()
        return True

    def _watch(self) -> None:
        if self._is_request and len(_watched) < _MOST_WATCHED:
            try:
                self._gone = _on_gone(self.token)
            except LateError:
                return
            _watched[self._gone] = self

    def gone(self) -> None:
        """Whoever waits for the answer has gone: cancels the handler."""
        self._has_gone = True
        if self._task is not None:
            self._task.cancel("the client has gone")

    def accept(self, tags: Iterable[str]) -> websocket.WebSocket:
        """Accepts the WebSocket that its request asks for."""
        if self.is_over:
            raise RuntimeError("the request was answered already")
        if self.token is None:
            self._socket = websocket.accept(tags)
        else:
            self._socket = websocket.WebSocket(_accept(self.token, [*map(text, tags)]))
            websocket.hold_back(self._socket)
        return self._socket

    def answer(self) -> None:
        """Answers it, as part of the turn that runs."""
        _watched.pop(self._gone or 0, None)
        answer: Any
        if self.error is None:
            answer = _host.later.Answer_Done() if self.value is None else _host.later.Answer_Response(self.value)
        elif self._has_gone and isinstance(self.error, asyncio.CancelledError):
            answer = _host.later.Answer_Failed(_host.types.Failure("gone", "the client has gone", False))
        else:
            answer = _host.later.Answer_Failed(failure(self.error))
        try:
            _reply(self.token, answer)
        except LateError as refusal:
            # Whoever asked does not wait any more.
            if refusal.case != "gone":
                raise
        if self._socket is not None:
            websocket.let_go(self._socket)


def install() -> None:
    """Has everything asynchronous run on the object's loop."""
    _batches.track()
    sys.set_asyncgen_hooks(finalizer=_loop.finalize)


def run(
    handler: Callable[..., Any], to_answer: Callable[[Any], Any], *arguments: Any, request: Request | None = None
) -> Any:
    """Calls a method of the class and returns its answer; `None` if the answer is given in a later turn."""
    own = _Handler(to_answer, request)

    def act() -> None:
        own.begin(handler, arguments)
        _loop.run_ready()
        _end_sections()
        while not own.is_over and not own.suspend():
            _advance("the handler")
        _end_sections()

    return _turn(act, own)


def resume(tokens: list[int]) -> None:
    """Runs the timers that the host resumes the object for, and what goes on with them."""

    def act() -> None:
        until = _loop.resumed(tokens)
        for token in tokens:
            if handler := _watched.pop(token, None):
                handler.gone()
        _loop.run_ready()
        _loop.run_due(until)
        _end_sections()

    _turn(act)


def _turn(act: Callable[[], None], own: _Handler | None = None) -> Any:
    events._set_running_loop(_loop)
    try:
        act()
        fails = own is not None and own.error is not None and own.token is None
        if fails and own is not None and (_settled or _section.innermost):
            # The answers of others count although this handler fails, and what keeps other events out goes on.
            fails = not own.suspend()
        if not fails:
            for handler in _settled:
                handler.answer()
            _settled.clear()
        _loop.schedule(at_once=bool(_settled))
        _batches.keep_all(bool(_suspended) or _loop.goes_on)
        _tell_exclusive()
    except BaseException:
        # Not what the handler raised: the object is in no state to go on.
        _section.leave_all()
        _host.later.drop_instance()
        raise
    finally:
        events._set_running_loop(None)
    if own is None or own.token is not None:
        return None
    if own.error is not None:
        raise own.error
    return own.value


def _end_sections() -> None:
    """Runs until the turn can end: until no transaction is open."""
    while _section.must_end():
        _advance("a transaction")


def _advance(who: str) -> None:
    if not _loop.advance():
        raise Failure("never-settles", f"{who} waits for what nothing brings in this turn")


def _tell_exclusive() -> None:
    global _is_exclusive
    is_open = _section.innermost is not None
    if is_open != _is_exclusive:
        _is_exclusive = is_open
        _host.later.exclusive(is_open)
