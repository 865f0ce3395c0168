"""What the host calls, and what it gets: handlers, failures, the log."""

import logging
import sys
import unittest
from datetime import datetime, timedelta, timezone

from tests import fake_host
from tests.fake_host import Err, Failure, HttpRequest, HttpResponse, Level

fake_host.install()

from holdfast import (  # noqa: E402  # noqa: E402
    TRACE,
    AlarmError,
    AlarmInfo,
    Context,
    DurableObject,
    Message,
    Request,
    Response,
    WebSocket,
    WebSocketError,
    _entry,
    _logs,
)
from holdfast import Failure as Chosen  # noqa: E402


class Room(DurableObject):
    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.events: list[object] = []
        if ctx.name == "nobody":
            raise Chosen("bad-name", "not to be made")

    def fetch(self, request: Request) -> Response:
        match request.segments:
            case ("join", tag):
                ws, response = self.ctx.accept_websocket(
                    request, [tag], "chat" if "sec-websocket-protocol" in request.headers else None
                )
                ws.attachment = {"tag": tag}
                ws.send("welcome")
                return response
            case ("fail",):
                raise Chosen("busy", "later", retryable=True)
            case ("throw",):
                raise LookupError("oh no \ud800")
            case ("full",):
                raise MemoryError
            case ("exit",):
                sys.exit(3)
            case ("refused",):
                self.ctx.storage.put("", 1)
            case ("wrong", "status"):
                return Response(status=70_000)
            case ("wrong", "body"):
                return Response(7)  # type: ignore[arg-type]
            case ("nothing",):
                return None  # type: ignore[return-value]
        return Response.json(
            [self.ctx.id[:4], self.ctx.name, self.ctx.class_name, request.method], headers={"x-a": "b"}
        )

    def alarm(self, info: AlarmInfo) -> None:
        self.events.append(info)

    def websocket_message(self, ws: WebSocket, message: Message) -> None:
        self.events.append((ws, message))

    def websocket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        self.events.append((ws, code, reason, was_clean))


class EntryTests(unittest.TestCase):
    def setUp(self) -> None:
        self.host = fake_host.reset()
        _entry._class = Room
        self.addCleanup(setattr, logging.root, "handlers", logging.root.handlers)
        self.addCleanup(logging.root.setLevel, logging.root.level)
        logging.root.handlers = [_logs.HostHandler("/project")]
        logging.root.setLevel(1)
        _entry.InitHandler().init()
        self.events = _entry._object.events  # type: ignore[attr-defined]

    def fetch(self, path: str, *headers: tuple[str, bytes]) -> HttpResponse:
        return _entry.FetchHandler().fetch(HttpRequest("GET", path, list(headers), b""))

    def fails(self, path: str) -> Failure:
        with self.assertRaises(Err) as failed:
            self.fetch(path)
        assert isinstance(failed.exception.value, Failure)
        return failed.exception.value

    def test_a_request_is_answered(self) -> None:
        headers = [("x-a", b"b"), ("content-type", b"application/json")]
        self.assertEqual(self.fetch("/"), HttpResponse(200, headers, b'["0000","alice","counter","GET"]'))

    def test_a_rehearsal_leaves_nothing_with_the_host(self) -> None:
        _entry._rehearse()
        self.assertEqual((self.host.keys, self.host.logged, hasattr(_entry, "_object")), ({}, [], False))

    def test_a_failure_arrives_as_it_was_chosen(self) -> None:
        self.assertEqual(self.fails("/fail"), Failure("busy", "later", True))
        self.assertEqual(self.host.logged, [])
        self.host.name = "nobody"
        with self.assertRaises(Err) as failed:
            _entry.InitHandler().init()
        self.assertEqual(failed.exception.value, Failure("bad-name", "not to be made", False))

    def test_an_exception_is_a_failure_with_its_traceback_in_the_log(self) -> None:
        self.assertEqual(self.fails("/throw"), Failure("guest-error", "LookupError: oh no ?", False))
        [(level, message, [logger, (name, stack)])] = self.host.logged
        self.assertEqual((level, message, logger, name), (Level.ERROR, "LookupError: oh no ?", ("logger", "holdfast"), "stack"))
        self.assertTrue(stack.startswith("Traceback (most recent call last):\n"), stack)
        self.assertTrue(stack.endswith("LookupError: oh no ?"), stack)
        self.assertIn("test_entry.py", stack)
        self.assertNotIn('_entry.py", line', stack.replace("test_entry.py", ""))

    def test_everything_that_leaves_a_handler_has_a_message(self) -> None:
        self.assertEqual(self.fails("/exit").message, "SystemExit: 3")
        self.assertEqual(self.fails("/full"), Failure("out-of-memory", "MemoryError: ", False))
        self.assertEqual(self.fails("/nothing").message, "TypeError: fetch returned None, which is no Response")
        self.assertEqual(self.fails("/wrong/status").message, "OverflowError: 70000 is not from 0 to 65535")
        self.assertIn("TypeError: ", self.fails("/wrong/body").message)
        refused = self.fails("/refused")
        self.assertEqual(refused.code, "storage-error")
        self.assertEqual(refused.message, "StorageError: a key of 0 bytes: keys are 1 to 2,048 bytes long")

    def test_alarms(self) -> None:
        _entry.AlarmHandler().alarm(type("AlarmInfo", (), {"scheduled": 1_500, "retry_count": 6}))
        [info] = self.events
        self.assertEqual(info, AlarmInfo(datetime(1970, 1, 1, 0, 0, 1, 500_000, timezone.utc), 6))
        self.assertTrue(info.is_retry and info.is_last_attempt)

    def test_an_alarm_is_never_rounded_to_an_earlier_time(self) -> None:
        alarm = Context().alarm
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        for micros, millis in ((1, 1), (999, 1), (1_000, 1), (1_001, 2)):
            alarm.set(epoch + timedelta(microseconds=micros))
            self.assertEqual(self.host.alarm, millis)
        self.assertEqual(alarm.get(), epoch + timedelta(milliseconds=2))
        before = datetime.now(timezone.utc)
        alarm.set(timedelta(hours=1))
        self.assertTrue(timedelta(0) <= (alarm.get() or epoch) - before - timedelta(hours=1) < timedelta(minutes=1))
        with self.assertRaisesRegex(ValueError, "time zone"):
            alarm.set(datetime(2030, 1, 1))
        for no_time in (epoch, epoch - timedelta(days=1), timedelta(days=200_000_000)):
            with self.assertRaises(AlarmError):
                alarm.set(no_time)
        alarm.delete()
        self.assertIsNone(alarm.get())

    def test_a_websocket_is_accepted_and_heard(self) -> None:
        self.assertEqual(self.fetch("/join/a").headers, [])
        offered = ("sec-websocket-protocol", b"superchat, chat")
        self.assertEqual(self.fetch("/join/b", offered), HttpResponse(101, [("sec-websocket-protocol", b"chat")], b""))
        with self.assertRaisesRegex(Err, "does not offer"):
            self.fetch("/join/c", ("sec-websocket-protocol", b"superchat"))
        self.assertEqual(self.host.sent[0], (1, "Message_Text", "welcome"))
        handler, first = _entry.WebsocketHandler(), WebSocket(1)
        handler.message(1, type("Message_Text", (), {"value": "hi"}))
        handler.close(1, 1000, "bye", True)
        handler.error(1, "ignored, as the class has no such method")
        self.assertEqual(self.events, [(first, "hi"), (first, 1000, "bye", True)])

    def test_websockets(self) -> None:
        for tag in "aba":
            self.fetch(f"/join/{tag}")
        ctx = Context()
        self.assertEqual([ws.id for ws in ctx.websockets("a")], [1, 3])
        self.assertEqual((ctx.broadcast(b"x", "b"), self.host.sent[-1]), (1, ("b", "Message_Binary", b"x")))
        ws = ctx.websockets()[1]
        self.assertEqual((ws.tags, ws.attachment, ws.buffered, len({ws, WebSocket(2)})), (("b",), {"tag": "b"}, 0, 1))
        ws.attachment = None
        self.assertEqual((ws.attachment, ws.attachment_bytes), (None, None))
        ws.close(4000, "bye")
        self.assertEqual(self.host.sent[-1], (2, "close", 4000, "bye"))
        with self.assertRaisesRegex(WebSocketError, "1005 is no code to close with") as refused:
            ws.close(1005)
        self.assertEqual(refused.exception.case, "bad-code")
        ctx.auto_response = "ping", "pong"
        self.assertEqual(ctx.auto_response, ("ping", "pong"))
        ctx.auto_response = None
        self.assertIsNone(ctx.auto_response)
        self.assertEqual(ws.auto_response_time, datetime(1970, 1, 1, 0, 0, 1, 500_000, timezone.utc))

    def test_levels_and_fields(self) -> None:
        logging.log(TRACE, "t")
        logging.getLogger("app").warning("moved to %s", "x", extra={"user": "ann", "n": 3})
        for number in (logging.DEBUG, logging.INFO, logging.ERROR, logging.CRITICAL):
            logging.log(number, "m")
        levels = [level for level, _, _ in self.host.logged]
        self.assertEqual(levels, [Level.TRACE, Level.WARN, Level.DEBUG, Level.INFO, Level.ERROR, Level.ERROR])
        self.assertEqual(self.host.logged[1][1:], ("moved to x", [("user", "ann"), ("n", "3"), ("logger", "app")]))


if __name__ == "__main__":
    unittest.main()
