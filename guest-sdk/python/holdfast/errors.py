"""What goes wrong: failures that a class chooses, and what the host refuses."""

from __future__ import annotations

import re
from typing import Any, ClassVar

__all__ = [
    "AlarmError",
    "Failure",
    "HostError",
    "IntegrityError",
    "LateError",
    "SqlError",
    "StorageError",
    "WebSocketError",
]


class Failure(Exception):
    """Fails the turn with a code that callers can match on.

    Nothing that the turn wrote is kept, the instance is dropped, and the caller gets status 500, or 503 if `retryable`
    says that the same request may succeed later. Any other exception that leaves a handler does the same with the code
    `guest-error`, and its traceback goes to the log. For what callers do wrong, return a `Response.error` instead: then
    the turn succeeds.

    `code` is 1 to 64 characters of `[a-z0-9-]`; the host shows others as `guest-error`. It keeps 8 KiB of the message.

    ```python
    if stock < wanted:
        raise Failure("out-of-stock", f"only {stock} left")
    ```
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(code, message, retryable)
        self.code = code
        self.message = message
        self.retryable = retryable

    def __str__(self) -> str:
        return self.message


class HostError(Exception):
    """The host refused an operation. It changed nothing, and the turn can go on unless the case says otherwise.

    `case` is the error's name in the contract, for example `key-size`; `value` is what the contract has with it, if
    anything.
    """

    code: ClassVar[str]
    """The failure's code if the error is not caught."""

    _messages: ClassVar[dict[str, str]]

    def __init__(self, refusal: Any) -> None:
        # The contract's `key-size` is generated as a class `Error_KeySize`.
        name = type(refusal).__name__.removeprefix("Error_")
        self.case = re.sub(r"\B([A-Z])", r"-\1", name).lower()
        self.value: Any = getattr(refusal, "value", None)
        super().__init__(self._messages.get(self.case, "{}").format(self.value))


class StorageError(HostError):
    """Storage refused. In the case `full` the turn fails, whatever the handler does."""

    code = "storage-error"
    _messages = {
        "key-size": "a key of {} bytes: keys are 1 to 2,048 bytes long",
        "value-size": "key and value of {} bytes: together they are at most 2,000,000 bytes long",
        "too-many": "{} keys in one call: at most 128 are allowed",
        "bad-range": "the options of the list contradict each other: {}",
        "full": "the object's storage is full",
        "closed": "it is closed: its turn or an outer transaction has ended, or everything was deleted",
        "savepoint-open": "not possible inside a transaction: it concerns the whole turn",
        "too-deep": "at most {} transactions can be inside each other",
    }


class SqlError(HostError):
    """A statement was refused or failed; it changed nothing. In the case `full` the turn fails, whatever the handler
    does.
    """

    code = "sql-error"
    _messages = {
        "no-statement": "the text holds no statement",
        "not-authorized": "not authorized: {}",
        "parameter-count": "the statement takes {0.expected} parameters and {0.given} were given",
        "too-large": "too large: {}",
        "constraint": "{0.message}",
        "full": "the object's storage is full",
        "closed": "the cursor is closed: its turn has ended, or a later statement invalidated it",
        "sqlite": "{0.message}",
    }

    @property
    def sqlite_code(self) -> int | None:
        """SQLite's extended result code, such as 2067 for a violated UNIQUE constraint; `None` if it was not SQLite."""
        return getattr(self.value, "code", None)


class IntegrityError(SqlError):
    """A constraint was violated, for example a UNIQUE one."""


def sql_error(refusal: Any) -> SqlError:
    """The error for what `sql` refused."""
    error = SqlError(refusal)
    return IntegrityError(refusal) if error.case == "constraint" else error


class AlarmError(HostError):
    """The alarm was not set."""

    code = "alarm-error"
    _messages = {
        "bad-time": "no time for an alarm: it is not after 1970, or too far in the future",
        "no-handler": "the class has no handler for alarms: define the method `alarm`",
    }


class WebSocketError(HostError):
    """The host refused something about a WebSocket."""

    code = "websocket-error"
    _messages = {
        "not-an-upgrade": "the request does not ask for a WebSocket",
        "already-accepted": "the turn has accepted its WebSocket already",
        "too-many-sockets": "the object has {} WebSockets, which is as many as it may",
        "bad-tag": "at most 10 different tags of 1 to 256 bytes: {}",
        "unknown-socket": "there is no such WebSocket, or its close event is over",
        "closing": "the WebSocket is closing",
        "too-large": "{0.size} bytes: at most {0.limit} are allowed",
        "too-much": "the messages of this turn are over {} bytes",
        "bad-code": "{} is no code to close with: use 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999",
    }


class LateError(HostError):
    """The host refused late work: what goes on after its turn."""

    code = "late-error"
    _messages = {
        "too-many": "the object has {} of them, as many as it may",
        "not-deferrable": "the answer of this turn cannot be deferred",
        "gone": "nothing waits for the answer any more",
        "wrong-kind": "the request does not ask for a WebSocket",
    }
