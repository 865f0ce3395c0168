"""Handlers that wait: asyncio on the object's loop, deferred answers, resumes, sections."""

import asyncio
import importlib
import logging
import time
import unittest
import unittest.mock
from collections.abc import Callable
from typing import Any

from tests import fake_host
from tests.fake_host import Err, Failure, HttpRequest, HttpResponse

fake_host.install()

from holdfast import DurableObject, Request, Response, WebSocket, _batches, _entry, _late, _logs, _section  # noqa: E402
from holdfast import Failure as Chosen  # noqa: E402


class Clock:
    """Time as an object sees it: it stands still in a turn, unless the turn waits."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Waits(DurableObject):
    """Does what a test gives it."""

    act: Callable[["Waits", Request], Any]

    def fetch(self, request: Request) -> Any:
        return type(self).act(self, request)

    def alarm(self, info: object) -> Any:
        return type(self).act(self, Request("ALARM"))

    def websocket_message(self, ws: WebSocket, message: object) -> Any:
        return type(self).act(self, Request("MESSAGE"))


class LateTests(unittest.TestCase):
    def setUp(self) -> None:
        self.host = fake_host.reset()
        self.clock = Clock()
        importlib.reload(_late)
        _section.leave_all()
        _late.install()
        self.addCleanup(setattr, _batches, "_tracked", None)
        for name in ("monotonic", "sleep"):
            patch = unittest.mock.patch.object(time, name, getattr(self.clock, name))
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(setattr, _entry, "_run", _entry._now)
        self.addCleanup(setattr, logging.root, "handlers", logging.root.handlers)
        self.addCleanup(logging.root.setLevel, logging.root.level)
        logging.root.handlers = [_logs.HostHandler("/project")]
        logging.root.setLevel(1)
        _entry._run, _entry._class = _late.run, Waits
        _entry.InitHandler().init()

    def fetch(self, act: Any, *headers: tuple[str, bytes]) -> HttpResponse:
        """A request, and its answer or what is returned in place of it."""
        Waits.act = staticmethod(act) if isinstance(act, staticmethod) else act
        return _entry.FetchHandler().fetch(HttpRequest("GET", "/", list(headers), b""))

    def resume(self, *also: int) -> None:
        """The turn of the next resume."""
        [(token, wait)] = self.host.resumes.items()
        self.host.resumes.clear()
        self.clock.now += wait / 1000
        _entry.LaterHandler().resume([token, *also])

    def answers(self) -> list[Any]:
        """What the deferred requests were answered, as texts, and None for those that wait."""

        def text(answer: Any) -> Any:
            value = getattr(answer, "value", None)
            return value.body.decode() if isinstance(value, HttpResponse) else value or type(answer).__name__

        return [answer and text(answer) for answer in self.host.deferred.values()]

    def failure(self, act: Any) -> Failure:
        with self.assertRaises(Err) as failed:
            self.fetch(act)
        return failed.exception.value

    def test_what_does_not_wait_is_one_turn(self) -> None:
        async def helped() -> str:
            await asyncio.sleep(0)
            return "a"

        async def fetch(self: Waits, _: Request) -> Response:
            texts = await asyncio.gather(helped(), helped())
            async with asyncio.Lock(), asyncio.timeout(5) if hasattr(asyncio, "timeout") else asyncio.Lock():
                return Response("".join(texts))

        self.assertEqual(self.fetch(fetch).body, b"aa")
        self.assertEqual(self.fetch(lambda *_: Response("b")).body, b"b")
        self.assertEqual((self.host.deferred, self.host.resumes), ({}, {}))

    def test_a_handler_that_waits_is_answered_in_a_later_turn(self) -> None:
        async def fetch(self: Waits, _: Request) -> Response:
            self.ctx.storage.put("a", 1)
            await asyncio.sleep(0.0201)
            return Response("late")

        self.assertEqual(self.fetch(fetch).status, 204)
        self.assertEqual((list(self.host.resumes.values()), self.answers()), ([21], [None]))
        self.assertEqual(self.fetch(lambda *_: Response("between")).body, b"between")
        self.resume()
        self.assertEqual((self.answers(), self.host.resumes), (["late"], {}))

    def test_one_resume_stands_for_the_next_timer(self) -> None:
        done: list[str] = []

        def fetch(*_: object) -> Response:
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, done.append, "c")
            first = loop.call_later(0.01, done.append, "a")
            loop.call_later(0.02, done.append, "b")
            loop.call_later(0.02, first.cancel)
            return Response()

        self.fetch(fetch)
        self.assertEqual(list(self.host.resumes.values()), [10])
        self.resume()
        self.assertEqual((done, list(self.host.resumes.values())), (["a"], [10]))
        self.resume()
        self.resume()
        self.assertEqual((done, self.host.resumes), (["a", "b", "c"], {}))

    def test_a_timer_that_is_cancelled_wakes_nothing(self) -> None:
        async def fetch(*_: object) -> Response:
            for _ in range(1_000):
                asyncio.get_running_loop().call_later(60, print).cancel()
            timer = asyncio.get_running_loop().call_later(60, print)
            asyncio.get_running_loop().call_soon(timer.cancel)
            return Response()

        self.fetch(fetch)
        self.assertEqual(self.host.resumes, {})
        self.assertEqual(len(_late._loop._timers), 0)

    def test_a_timer_made_by_a_timer_comes_in_a_turn_of_its_own(self) -> None:
        count = 0

        def again() -> None:
            nonlocal count
            count += 1
            asyncio.get_running_loop().call_later(0, again)

        self.fetch(lambda *_: again() or Response())
        self.resume()
        self.assertEqual((count, list(self.host.resumes.values())), (2, [0]))

    def test_19_wait_and_the_20th_raises(self) -> None:
        told = asyncio.Event()

        async def wait(*_: object) -> Response:
            await told.wait()
            return Response("told")

        def throw(*_: object) -> Response:
            raise LookupError("20th")

        def tell(*_: object) -> Response:
            told.set()
            return Response("ok")

        for _ in range(19):
            self.fetch(wait)
        self.assertEqual(self.failure(throw).message, "LookupError: 20th")
        self.assertEqual((self.answers(), self.host.drops), ([None] * 19, 0))
        self.assertEqual(self.fetch(tell).body, b"ok")
        self.assertEqual(self.answers(), ["told"] * 19)

    def test_the_answers_of_others_count_although_a_handler_raises(self) -> None:
        told = asyncio.Event()

        async def wait(*_: object) -> Response:
            await told.wait()
            return Response("told")

        async def throw(*_: object) -> Response:
            told.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise Chosen("mine", "alone")

        self.fetch(wait)
        self.assertEqual(self.fetch(throw).status, 204)
        self.assertEqual(self.answers(), ["told", Failure("mine", "alone", False)])

    def test_an_exception_after_a_wait_is_its_callers(self) -> None:
        async def fetch(*_: object) -> Response:
            await asyncio.sleep(1)
            raise LookupError("late")

        self.fetch(fetch)
        self.resume()
        self.assertEqual(self.answers(), [Failure("guest-error", "LookupError: late", False)])
        [(_, _, [_, (name, stack)])] = self.host.logged
        self.assertEqual(name, "stack")
        self.assertNotIn("/holdfast/_late.py", stack)
        self.assertEqual(self.host.drops, 0)

    def test_what_is_no_response_is_its_callers_error(self) -> None:
        async def fetch(*_: object) -> Any:
            await asyncio.sleep(1)
            return Response(status=70_000)

        self.fetch(fetch)
        self.resume()
        self.assertIn("70000 is not from 0", self.answers()[0].message)

    def test_what_nothing_waits_for_goes_on_and_fails_nothing(self) -> None:
        async def work(self: Waits, fails: bool) -> None:
            await asyncio.sleep(1)
            self.ctx.storage.put("done", 1)
            if fails:
                raise LookupError("work")

        def fetch(self: Waits, _: Request) -> Response:
            self.tasks = [asyncio.create_task(work(self, fails)) for fails in (False, True)]  # type: ignore[attr-defined]
            asyncio.get_running_loop().call_later(1, {}.pop, "x")
            return Response("soon")

        self.assertEqual(self.fetch(fetch).body, b"soon")
        self.resume()
        self.assertEqual(self.host.keys, {"done": b"1"})
        self.fetch(lambda self, _: self.tasks.clear() or Response())
        messages = [message for _, message, _ in self.host.logged]
        self.assertEqual(len(messages), 2, messages)
        self.assertIn("KeyError: 'x'", messages[0])
        self.assertIn("never retrieved: LookupError: work", messages[1])
        self.assertEqual((self.host.deferred, self.host.drops), ({}, 0))

    def test_a_handler_is_cancelled_when_its_client_has_gone(self) -> None:
        async def fetch(self: Waits, _: Request) -> Response:
            try:
                await asyncio.sleep(60)
            finally:
                self.ctx.storage.put("gone", 1)
            return Response()

        self.fetch(fetch)
        [(token, deferred)] = self.host.watched.items()
        self.host.deferred[deferred] = "gone"
        _entry.LaterHandler().resume([token])
        self.assertEqual((self.host.keys, self.host.logged, self.host.resumes), ({"gone": b"1"}, [], {}))

    def test_a_thousand_callers_leave_a_resume_for_the_timers(self) -> None:
        async def fetch(*_: object) -> Response:
            await asyncio.sleep(1)
            return Response("x")

        for _ in range(1_000):
            self.fetch(fetch)
        self.assertEqual((len(self.host.watched), len(self.host.resumes)), (999, 1))
        self.resume()
        self.assertEqual(self.answers(), ["x"] * 1_000)
        self.assertEqual((_late._watched, _late._suspended), ({}, set()))

    def test_alarms_and_messages_are_done_later(self) -> None:
        async def act(*_: object) -> None:
            await asyncio.sleep(1)

        Waits.act = act
        _entry.AlarmHandler().alarm(type("AlarmInfo", (), {"scheduled": 1_500, "retry_count": 0}))
        _entry.WebsocketHandler().message(1, type("Message_Text", (), {"value": "hi"}))
        self.assertEqual((self.answers(), self.host.watched), ([None, None], {}))
        self.resume()
        self.assertEqual(self.answers(), ["Answer_Done"] * 2)

    def test_a_class_that_is_not_interleaved_waits_in_its_turn(self) -> None:
        self.host.interleaves = False

        async def fetch(*_: object) -> Response:
            await asyncio.sleep(2)
            return Response("same turn")

        self.assertEqual(self.fetch(fetch).body, b"same turn")
        self.assertEqual(self.clock.slept, [2])

        async def never(*_: object) -> Response:
            await asyncio.Event().wait()
            return Response()

        self.assertEqual(self.failure(never).code, "never-settles")
        self.assertEqual(self.host.drops, 1)

    def test_a_transaction_ends_with_its_turn_and_nothing_comes_into_it(self) -> None:
        async def inside(self: Waits) -> None:
            with self.ctx.storage.transaction():
                self.ctx.storage.put("a", 1)
                await asyncio.sleep(1)
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.5))
                self.ctx.storage.put("b", self.ctx.storage.get("outside"))

        async def outside(self: Waits) -> None:
            await asyncio.sleep(0.3)
            with self.ctx.storage.transaction():
                self.ctx.storage.put("outside", 1)
                await asyncio.sleep(0)

        async def fetch(self: Waits, _: Request) -> Response:
            await asyncio.gather(inside(self), outside(self))
            return Response("both")

        self.fetch(fetch)
        self.assertEqual((self.host.keys, self.host.savepoints), ({"a": b"1", "b": b"null"}, []))
        self.assertEqual(self.clock.slept, [1, 0.5])
        self.resume()
        self.assertEqual((self.answers(), self.host.keys["outside"]), (["both"], b"1"))

    def test_a_transaction_that_nothing_ends_fails_its_turn(self) -> None:
        async def fetch(self: Waits, _: Request) -> Response:
            with self.ctx.storage.transaction():
                await asyncio.Event().wait()
            return Response()

        self.assertEqual(self.failure(fetch).code, "never-settles")
        self.assertEqual((self.host.drops, _section.innermost), (1, None))

    def test_exclusive_spans_turns(self) -> None:
        done: list[str] = []

        async def fetch(self: Waits, _: Request) -> Response:
            asyncio.get_running_loop().call_later(0.5, done.append, "outside")
            with self.ctx.exclusive():
                await asyncio.sleep(1)
                done.append("inside")
            await asyncio.sleep(0.1)
            return Response("alone")

        self.fetch(fetch)
        self.assertEqual((self.host.exclusive, list(self.host.resumes.values())), ([True], [1_000]))
        self.resume()
        self.assertEqual((self.host.exclusive, done), ([True, False], ["inside", "outside"]))
        self.resume()
        self.assertEqual(self.answers(), ["alone"])

    def test_a_websocket_is_accepted_after_a_wait(self) -> None:
        async def fetch(self: Waits, request: Request) -> Response:
            await asyncio.sleep(1)
            ws, response = self.ctx.accept_websocket(request, ["a"])
            ws.attachment = 1
            ws.send("welcome")
            self.ctx.hold_for(ws)
            await asyncio.sleep(1)
            ws.close(1000)
            return response

        self.fetch(fetch, ("upgrade", b"websocket"))
        self.resume()
        self.assertEqual((self.host.sockets, self.host.sent), ({1: ["a", "deferred 1"]}, []))
        self.resume()
        [answer] = self.host.deferred.values()
        self.assertEqual((answer.value.status, self.host.attachments, self.host.held), (101, {1: b"1"}, [1]))
        self.assertEqual(self.host.sent, [(1, "Message_Text", "welcome"), (1, "close", 1000, "")])

    def test_a_websocket_that_is_accepted_before_a_wait(self) -> None:
        async def fetch(self: Waits, request: Request) -> Response:
            ws, response = self.ctx.accept_websocket(request)
            ws.send("a")
            await asyncio.sleep(1)
            ws.send("b")
            return response

        self.fetch(fetch)
        self.assertEqual([sent[2] for sent in self.host.sent], ["a"])
        self.resume()
        self.assertEqual([sent[2] for sent in self.host.sent], ["a", "b"])

    def test_results_in_use_are_read_before_the_turn_ends(self) -> None:
        async def fetch(self: Waits, _: Request) -> Response:
            storage, sql = self.ctx.storage, self.ctx.sql
            storage.put_many({str(n): n for n in range(3)})
            entries = storage.list()
            rows = sql.execute(
                "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n LIMIT 600) SELECT x FROM n"
            )
            first = next(entries), next(rows)
            await asyncio.sleep(1)
            return Response.json([first, [key for key, _ in entries], sum(row[0] for row in rows)])

        self.fetch(fetch)
        batches = len(self.host.batches)
        self.resume()
        self.assertEqual(self.answers(), ['[[["0",0],[1]],["1","2"],180299]'])
        self.assertEqual(len(self.host.batches), batches)

    def test_a_result_with_too_much_left_cannot_be_read_on(self) -> None:
        async def fetch(self: Waits, _: Request) -> Response:
            rows = self.ctx.sql.execute("SELECT zeroblob(3000000) FROM (VALUES (1), (2), (3), (4), (5))")
            next(rows)
            await asyncio.sleep(1)
            return Response(str(len(list(rows))))

        self.fetch(fetch)
        self.resume()
        self.assertEqual(self.answers()[0].code, "too-many-rows")

    def test_what_an_object_has_not_says_so(self) -> None:
        async def fetch(*_: object) -> Response:
            await asyncio.to_thread(print)
            return Response()

        self.assertIn("no threads", self.failure(fetch).message)
        self.assertIn("RuntimeError", self.failure(lambda *_: asyncio.get_running_loop().run_forever()).message)
        self.assertIsNone(asyncio._get_running_loop())


if __name__ == "__main__":
    unittest.main()
