"""Sends the records of `logging`, and what is printed, to the object's log."""

from __future__ import annotations

import logging
import sys

from . import _host
from ._host import readable

TRACE = 5
"""The level below DEBUG that the host has: `logging.log(TRACE, ...)`."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has. What is beside them was given as `extra`."""

_FORMATTER = logging.Formatter()


class HostHandler(logging.Handler):
    """Gives records to the host: message, level, and as fields `extra` and the traceback, which is the field `stack`.

    Tracebacks call the files of the project, a directory, by their paths in it.
    """

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def emit(self, record: logging.LogRecord) -> None:
        fields = [(name, readable(str(value))) for name, value in vars(record).items() if name not in _STANDARD]
        if record.name != "root":
            fields.append(("logger", record.name))
        stack = _FORMATTER.formatException(record.exc_info) if record.exc_info else record.stack_info
        if stack:
            fields.append(("stack", readable(stack.replace(f'File "{self._project}/', 'File "'))))
        _host.logging.log(level(record.levelno), readable(record.getMessage()), fields)


def level(number: int) -> _host.logging.Level:
    """The host's level for one of `logging`."""
    levels = _host.logging.Level
    if number >= logging.ERROR:
        return levels.ERROR
    if number >= logging.WARNING:
        return levels.WARN
    if number >= logging.INFO:
        return levels.INFO
    return levels.DEBUG if number >= logging.DEBUG else levels.TRACE


def install(project: str) -> None:
    """Takes over the root logger and the standard streams. Everything is logged: who reads the log chooses."""
    logging.addLevelName(TRACE, "TRACE")
    logging.root.handlers = [HostHandler(project)]
    logging.root.setLevel(logging.NOTSET + 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush() -> None:
    """Sends what was printed without an end of line."""
    sys.stdout.flush()
    sys.stderr.flush()
