"""The object's one alarm: a time at which its method `alarm` is called, whether or not a client is connected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from . import _host
from .errors import AlarmError

__all__ = ["AlarmClock", "AlarmInfo"]

_get = _host.refused_as(AlarmError, _host.alarms.get)
_set = _host.refused_as(AlarmError, _host.alarms.set)
_delete = _host.refused_as(AlarmError, _host.alarms.delete)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class AlarmInfo:
    """An alarm whose time has come."""

    scheduled: datetime
    """What it was set to, in UTC. The call comes then or later."""
    retry_count: int
    """How many attempts to handle this alarm have failed, from 0 to 6."""

    @property
    def is_retry(self) -> bool:
        """Whether the alarm has been tried before."""
        return self.retry_count > 0

    @property
    def is_last_attempt(self) -> bool:
        """Whether the alarm is given up if this attempt fails, too."""
        return self.retry_count >= 6


class AlarmClock:
    """The object's one alarm. It is part of the turn: a turn that fails has set none.

    ```python
    alarm.set(timedelta(days=14))
    ```
    """

    __slots__ = ()

    def get(self) -> datetime | None:
        """What the alarm is set to, in UTC; `None` if there is none, as while it is handled and not set anew."""
        millis = _get()
        return None if millis is None else time(millis)

    def set(self, when: datetime | timedelta) -> None:
        """Set the alarm to a time, or to a span from the start of this turn, in place of any there is.

        It never comes early, and a time that has passed comes at once, after this turn. Times are kept in milliseconds.
        A `datetime` needs a time zone, because without one it could be any of many times.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise ValueError("the time of an alarm needs a time zone, for example datetime.now(timezone.utc)")
            since_epoch = when - _EPOCH
        else:
            since_epoch = datetime.now(timezone.utc) - _EPOCH + when
        # Rounded up, because it must not come before its time. What is before 1970 is for the host to refuse, as 0.
        _set(max(0, -(-since_epoch // _MILLISECOND)))

    def delete(self) -> None:
        """Remove the alarm. Without one this does nothing."""
        _delete()


def time(millis: int) -> datetime:
    """A time of the contract."""
    return _EPOCH + millis * _MILLISECOND
