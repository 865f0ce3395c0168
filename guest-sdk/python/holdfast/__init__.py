"""Durable objects in Python: an object is an instance of a class that derives from `DurableObject`.

```python
from holdfast import DurableObject, Request, Response

class Counter(DurableObject):
    def fetch(self, request: Request) -> Response:
        n = self.ctx.storage.get("n", 0) + 1
        self.ctx.storage.put("n", n)
        return Response(str(n))
```

Each call of a handler is a turn, and a turn is atomic: if the handler returns, all that it wrote stays, and the caller
gets the answer once that is on disk; if it raises, nothing of it stays. A handler that is `async def` and waits is
several turns. `DurableObject` has the details, `Storage` and
`Sql` what an object can store, and `docs/languages/python.md` of Holdfast what differs from Python elsewhere.
"""

from ._logs import TRACE
from .alarm import AlarmClock, AlarmInfo
from .errors import AlarmError, Failure, HostError, IntegrityError, LateError, SqlError, StorageError, WebSocketError
from .http import BadRequest, Headers, Request, Response
from .object import Context, DurableObject
from .sql import Cursor, Row, Sql, SqlValue
from .storage import Storage, Transaction
from .websocket import Message, WebSocket

__all__ = [
    "TRACE",
    "AlarmClock",
    "AlarmError",
    "AlarmInfo",
    "BadRequest",
    "Context",
    "Cursor",
    "DurableObject",
    "Failure",
    "Headers",
    "HostError",
    "IntegrityError",
    "LateError",
    "Message",
    "Request",
    "Response",
    "Row",
    "Sql",
    "SqlError",
    "SqlValue",
    "Storage",
    "StorageError",
    "Transaction",
    "WebSocket",
    "WebSocketError",
]
