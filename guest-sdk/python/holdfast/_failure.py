"""What an exception is to the host: a failure, and an entry in the log."""

from __future__ import annotations

import logging
from typing import Any

from . import _host
from .errors import Failure, HostError

__all__ = ["failure"]

_OURS = frozenset({"holdfast._entry", "holdfast._late"})
"""Modules whose calls of the class are left out of tracebacks."""


def failure(error: BaseException) -> Any:
    """The contract's failure for an exception, which is logged unless the class has chosen the failure itself."""
    if isinstance(error, Failure):
        return _failure(error.code, error.message, error.retryable)
    trace = error.__traceback__
    while trace and trace.tb_frame.f_globals.get("__name__") in _OURS:
        trace = trace.tb_next
    message = f"{type(error).__name__}: {error}"
    logging.getLogger("holdfast").error("%s", message, exc_info=(type(error), error, trace))
    return _failure(_code(error), message, False)


def _code(error: BaseException) -> str:
    if isinstance(error, HostError):
        return error.code
    return "out-of-memory" if isinstance(error, MemoryError) else "guest-error"


def _failure(code: str, message: str, retryable: bool) -> Any:
    return _host.types.Failure(_host.readable(code), _host.readable(message), retryable)
