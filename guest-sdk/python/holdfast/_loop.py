"""The event loop of an object: `asyncio`'s tasks, futures, locks and timers on the turns of the host.

Owns: what runs next within a turn, and the one resume of the host (`wit/later.wit`) that stands for the next timer.
Does not own: when a turn begins and ends, which is `_late`. A loop elsewhere waits for sockets and is never done; this
one is run by each turn until it has nothing more to do.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

from . import _host, _section
from .errors import LateError

__all__ = ["Loop"]

_resume_after = _host.refused_as(LateError, _host.later.resume_after)

_LONGEST = 2.0**53 - 1
"""Milliseconds that the host can wait."""


# Its types ask for what an object has not, such as sockets: calling that is a `NotImplementedError`.
_Abstract: Any = asyncio.AbstractEventLoop


class _Timer(NamedTuple):
    due: float
    number: int
    handle: asyncio.TimerHandle
    context: contextvars.Context


class Loop(_Abstract):  # type: ignore[misc]  # pyright: ignore[reportUntypedBaseClass]
    """The loop of the one object of this component."""

    def __init__(self) -> None:
        self._ready: deque[tuple[asyncio.Handle, contextvars.Context]] = deque()
        # What is ready, in code outside of the section that was open then.
        self._outside: list[tuple[asyncio.Handle, contextvars.Context]] = []
        self._timers: list[_Timer] = []
        self._count = 0
        self._cancelled = 0
        # The resume that the host was asked for, and the time of the timer that it stands for.
        self._resume: tuple[int, float] | None = None
        self._task_factory: Any = None
        self._exception_handler: Any = None

    # What runs.

    def run_ready(self) -> None:
        """Runs what is ready, and what becomes ready by that."""
        while self._ready or (self._outside and self._lets_outside_in()):
            handle, context = entry = self._ready.popleft()
            if handle.cancelled():
                continue
            if _section.innermost is None or _section.may_run(context):
                handle._run()
            else:
                self._outside.append(entry)

    def _lets_outside_in(self) -> bool:
        waiting, self._outside = self._outside, []
        for entry in waiting:
            (self._ready if _section.may_run(entry[1]) else self._outside).append(entry)
        return bool(self._ready)

    def run_due(self, until: float) -> None:
        """Runs the timers that are due at that time, and what becomes ready by them. Timers that are made meanwhile
        come in a turn of their own.
        """
        before = self._count
        while timer := self._take(until, before):
            self._fire(timer)

    def advance(self) -> bool:
        """Waits within the turn for the next timer that may run. False if there is none."""
        timer = self._take()
        if timer is None:
            return False
        wait = timer.due - self.time()
        if wait > 0:
            time.sleep(wait)
        self._fire(timer)
        return True

    def resumed(self, tokens: Iterable[int]) -> float:
        """The host resumes the object for these tokens. Returns up to which time timers are due."""
        now = self.time()
        if self._resume is None or self._resume[0] not in tokens:
            return now
        # The clock may be a fraction of a millisecond behind the resume.
        now = max(now, self._resume[1])
        self._resume = None
        return now

    def schedule(self, at_once: bool = False) -> None:
        """Has the host resume the object when the next timer is due that may run, or at once."""
        timer = self._take()
        if timer is not None:
            heapq.heappush(self._timers, timer)
        due = self.time() if at_once or self._ready else None if timer is None else timer.due
        if self._resume is not None:
            token, at = self._resume
            if at == due:
                return
            _host.later.cancel(token)
            self._resume = None
        if due is not None:
            wait = min(max(0.0, due - self.time()) * 1000, _LONGEST)
            # What comes of adding and subtracting is no millisecond more.
            self._resume = _resume_after(math.ceil(round(wait, 6)), True), due

    @property
    def goes_on(self) -> bool:
        """Whether there is anything that runs later."""
        return bool(self._timers or self._ready or self._outside)

    def _take(self, until: float = math.inf, before: float = math.inf) -> _Timer | None:
        """Takes the next timer out that is due then, was made before this one, and may run."""
        others: list[_Timer] = []
        found = None
        while self._timers and self._timers[0].due <= until and found is None:
            timer = heapq.heappop(self._timers)
            if timer.handle.cancelled():
                self._cancelled -= 1
            elif timer.number <= before and _section.may_run(timer.context):
                found = timer
            else:
                others.append(timer)
        for timer in others:
            heapq.heappush(self._timers, timer)
        return found

    def _fire(self, timer: _Timer) -> None:
        self._ready.append((timer.handle, timer.context))
        self.run_ready()

    # What asyncio calls.

    def time(self) -> float:
        return time.monotonic()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((handle, context))
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, _Timer(when, self._count, handle, context))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled += 1
        if self._cancelled > 64 + len(self._timers) // 2:
            self._timers = [timer for timer in self._timers if not timer.handle.cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> Any:
        if self._task_factory is not None:
            return self._task_factory(self, coro, **options)
        return asyncio.Task(coro, loop=self, **options)

    def set_task_factory(self, factory: Any) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        return self._task_factory

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Logs what has gone wrong where no handler of the object waits for it; it fails nothing."""
        try:
            (self._exception_handler or self._log)(self, context)
        except Exception:
            logging.getLogger("asyncio").exception("the exception handler has failed")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._log(self, context)

    @staticmethod
    def _log(_: Loop, context: dict[str, Any]) -> None:
        error: BaseException | None = context.get("exception")
        trace = (type(error), error, error.__traceback__) if error is not None else None
        said = context.get("message") or "unhandled exception in the event loop"
        message = said if error is None else f"{said}: {type(error).__name__}: {error}"
        logging.getLogger("asyncio").error("%s", message, exc_info=trace)

    def finalize(self, generator: Any) -> None:
        """Closes an asynchronous generator that is forgotten before its end."""
        self.create_task(generator.aclose())

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:
        raise RuntimeError("an object has no threads: call the function itself")

    def _is_the_hosts(self, *_: Any) -> NoReturn:
        raise RuntimeError("the loop of an object is run by its turns: write `async def` and `await`")

    run_forever = run_until_complete = stop = close = _is_the_hosts
