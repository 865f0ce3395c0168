"""What the host calls: the way from the contract's records to the methods of a `DurableObject` and back.

Holds the one instance. The host calls `init` once and before all others, and never two functions at once. `register`
runs when the component is built, and its memory is what every object begins with; everything else here runs in an
object.
"""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import PurePath
from typing import Any, NoReturn

from . import _host, _logs
from ._failure import failure
from ._host import data, number
from ._json import decode, encode
from .alarm import AlarmInfo, time
from .http import Headers, Request, Response
from .object import Context, DurableObject
from .websocket import WebSocket

# Modules that are imported when they are first used, which is too late: what `datetime.strptime` needs, and what
# componentize-py asks for after everything else, so that each object has random numbers of its own.
for _late in ("_strptime", "random"):
    import_module(_late)

_REHEARSALS = 100

_class: type[DurableObject]
_object: DurableObject


def register(cls: type[DurableObject], waits: bool = False) -> None:
    """Makes `cls` the class of this component and its memory ready to be kept. Whether it is one that can wait."""
    global _class, _run
    if waits:
        late = import_module("holdfast._late")
        late.install()
        _run = late.run
    _rehearse(waits)
    _class = cls
    project = PurePath(sys.modules[cls.__module__].__file__ or "").parent
    _logs.install(str(project))
    _keep_sources(project)
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
    sys.meta_path.append(_NoFiles)
    # What is collected or looked at by the collector later is memory that each object has for itself.
    gc.collect()
    gc.freeze()


def _rehearse(waits: bool = False) -> None:
    """Makes objects and has them answer.

    What Python finds out when it does something for the first few times, such as what is an instance of what and which
    types an operation meets, is then in the memory that every object begins with. It would otherwise cost each object
    half a megabyte and a fifth of the time to wake.
    """
    global _class, _object

    class Rehearsal(DurableObject):
        def fetch(self, request: Request) -> Any:
            return self.answer_later(request) if waits else self.answer(request)

        async def answer_later(self, request: Request) -> Response:
            return self.answer(request)

        def answer(self, request: Request) -> Response:
            name, page = request.segments[0], int(request.query.get("page", "0"))
            if page == 0:
                return Response(name)
            return Response.json(decode(encode(request.json())), headers={"x-page": request.headers["x-page"]})

    _class = Rehearsal
    headers = [("host", b"localhost"), ("accept", b"*/*"), ("x-page", b"1")]
    for page in range(_REHEARSALS):
        InitHandler().init()
        uri = f"/a%20b?page={page % 2}&size=20"
        FetchHandler().fetch(_host.http_types.Request("POST", uri, headers, b'{"a": 1}'))
    del _object


class InitHandler:
    """Exports `init-handler`."""

    def init(self) -> None:
        global _object
        _object = _turn(_run, _class, _same, Context())


class FetchHandler:
    """Exports `fetch-handler`."""

    def fetch(self, request: Any) -> Any:
        headers = Headers.of_raw(request.headers)
        received = Request(request.method, request.uri, headers, request.body)
        answer = _turn(_run, _object.fetch, _response, received, request=received)
        # What is returned is not sent if the answer comes later.
        return _host.http_types.Response(204, [], b"") if answer is None else answer


class AlarmHandler:
    """Exports `alarm-handler`."""

    def alarm(self, info: Any) -> None:
        _turn(_run, _object.alarm, _nothing, AlarmInfo(time(info.scheduled), info.retry_count))


class WebsocketHandler:
    """Exports `websocket-handler`."""

    def message(self, socket: int, message: Any) -> None:
        _turn(_run, _object.websocket_message, _nothing, WebSocket(socket), message.value)

    def close(self, socket: int, code: int, reason: str, was_clean: bool) -> None:
        _turn(_run, _object.websocket_close, _nothing, WebSocket(socket), code, reason, was_clean)

    def error(self, socket: int, text: str) -> None:
        _turn(_run, _object.websocket_error, _nothing, WebSocket(socket), text)


class LaterHandler:
    """Exports `later-handler`, in a class that can wait."""

    def resume(self, tokens: list[int]) -> None:
        # Whatever resumes the object, `_late` has asked for it.
        _turn(import_module("holdfast._late").resume, tokens)


def _response(response: Any) -> Any:
    if not isinstance(response, Response):
        raise TypeError(f"fetch returned {response!r}, which is no Response")
    return _host.http_types.Response(number(response.status, 16), response.headers.raw, data(response.body))


def _same(result: Any) -> Any:
    return result


def _nothing(_: Any) -> None:
    pass


def _now(
    handler: Callable[..., Any], to_answer: Callable[[Any], Any], *arguments: Any, request: Request | None = None
) -> Any:
    return to_answer(handler(*arguments))


_run = _now
"""Runs a handler of the class. `_late.run`, if the class is one that can wait."""


def _turn(act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return act(*arguments, **options)
    except BaseException as error:  # `sys.exit()` and the like, too: only an error that is returned has a message.
        raise _host.Err(failure(error)) from None
    finally:
        _logs.flush()


def _keep_sources(project: PurePath) -> None:
    """Keeps the lines of the project's modules for tracebacks, because an object has no files to read them from."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and PurePath(file).is_relative_to(project):
            lines = linecache.getlines(file)
            # Without a time it is not checked against the file.
            linecache.cache[file] = (len(lines), None, lines, file)


class _NoFiles:
    """Says why an import fails that comes too late."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> NoReturn:
        raise ModuleNotFoundError(
            f"no module named {name!r} was imported when the component was built, and an object has no files to import "
            f"from: put `import {name}` at the top of a module",
            name=name,
        )
