"""What the host calls: the way from the contract's records to the methods of a `DurableObject` and back.

Holds the one instance. The host calls `init` once and before all others, and never two functions at once. `register`
runs when the component is built, and its memory is what every object begins with; everything else here runs in an
object.
"""

from __future__ import annotations

import gc
import linecache
import logging
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import PurePath
from typing import Any, NoReturn, TypeVar

from . import _host, _logs
from ._host import data, number
from ._json import decode, encode
from .alarm import AlarmInfo, time
from .errors import Failure, HostError
from .http import Headers, Request, Response
from .object import Context, DurableObject
from .websocket import WebSocket

Result = TypeVar("Result")

# Modules that are imported when they are first used, which is too late: what `datetime.strptime` needs, and what
# componentize-py asks for after everything else, so that each object has random numbers of its own.
for _late in ("_strptime", "random"):
    import_module(_late)

_REHEARSALS = 100

_class: type[DurableObject]
_object: DurableObject


def register(cls: type[DurableObject]) -> None:
    """Makes `cls` the class of this component and its memory ready to be kept."""
    global _class
    _rehearse()
    _class = cls
    project = PurePath(sys.modules[cls.__module__].__file__ or "").parent
    _logs.install(str(project))
    _keep_sources(project)
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
    sys.meta_path.append(_NoFiles)
    # What is collected or looked at by the collector later is memory that each object has for itself.
    gc.collect()
    gc.freeze()


def _rehearse() -> None:
    """Makes objects and has them answer.

    What Python finds out when it does something for the first few times, such as what is an instance of what and which
    types an operation meets, is then in the memory that every object begins with. It would otherwise cost each object
    half a megabyte and a fifth of the time to wake.
    """
    global _class, _object

    class Rehearsal(DurableObject):
        def fetch(self, request: Request) -> Response:
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
        _object = _turn(_class, Context())


class FetchHandler:
    """Exports `fetch-handler`."""

    def fetch(self, request: Any) -> Any:
        headers = Headers.of_raw(request.headers)
        return _turn(_answer, Request(request.method, request.uri, headers, request.body))


class AlarmHandler:
    """Exports `alarm-handler`."""

    def alarm(self, info: Any) -> None:
        _turn(_object.alarm, AlarmInfo(time(info.scheduled), info.retry_count))


class WebsocketHandler:
    """Exports `websocket-handler`."""

    def message(self, socket: int, message: Any) -> None:
        _turn(_object.websocket_message, WebSocket(socket), message.value)

    def close(self, socket: int, code: int, reason: str, was_clean: bool) -> None:
        _turn(_object.websocket_close, WebSocket(socket), code, reason, was_clean)

    def error(self, socket: int, text: str) -> None:
        _turn(_object.websocket_error, WebSocket(socket), text)


def _answer(request: Request) -> Any:
    response = _object.fetch(request)
    if not isinstance(response, Response):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"fetch returned {response!r}, which is no Response")
    return _host.http_types.Response(number(response.status, 16), response.headers.raw, data(response.body))


def _turn(handler: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return handler(*arguments)
    except Failure as failure:
        _fail(failure.code, failure.message, failure.retryable)
    except BaseException as error:  # `sys.exit()` and the like, too: only an error that is returned has a message.
        trace = error.__traceback__
        while trace and trace.tb_frame.f_globals is globals():
            trace = trace.tb_next
        message = f"{type(error).__name__}: {error}"
        logging.getLogger("holdfast").error("%s", message, exc_info=(type(error), error, trace))
        _fail(_code(error), message, False)
    finally:
        _logs.flush()


def _code(error: BaseException) -> str:
    if isinstance(error, HostError):
        return error.code
    return "out-of-memory" if isinstance(error, MemoryError) else "guest-error"


def _fail(code: str, message: str, retryable: bool) -> NoReturn:
    raise _host.Err(_host.types.Failure(_host.readable(code), _host.readable(message), retryable)) from None


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
