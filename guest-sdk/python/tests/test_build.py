"""Which class a build takes, and what it exports. Making the component itself is tested with the host."""

import contextlib
import functools
import io
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from types import ModuleType

from tests import fake_host

fake_host.install()

from holdfast import DurableObject, Request, Response  # noqa: E402
from holdfast.build import BuildError, complaint, exports, find_class, import_project, waits  # noqa: E402


def module(*classes: type) -> ModuleType:
    """A module that defines these classes, and imports one more."""
    made = ModuleType("app")
    made.DurableObject = DurableObject  # type: ignore[attr-defined]
    for cls in classes:
        cls.__module__ = "app"
        setattr(made, cls.__name__, cls)
    return made


class Counter(DurableObject):
    def fetch(self, request: Request) -> Response:
        return Response()


class BuildTests(unittest.TestCase):
    def test_the_class_is_the_last_to_derive(self) -> None:
        class Louder(Counter):
            pass

        class Other(DurableObject):
            pass

        self.assertIs(find_class(module(Counter)), Counter)
        self.assertIs(find_class(module(Counter, Louder)), Louder)
        with self.assertRaisesRegex(BuildError, "more than one class: Counter, Other"):
            find_class(module(Counter, Other))
        with self.assertRaisesRegex(BuildError, "`app` has no class"):
            find_class(module())

    def test_what_is_defined_is_exported(self) -> None:
        class Reminder(Counter):
            def alarm(self, info: object) -> None:
                pass

        class Room(Reminder):
            def websocket_error(self, ws: object, error: str) -> None:
                pass

        with unittest.mock.patch.dict(sys.modules):
            sys.modules.pop("asyncio", None)
            self.assertEqual(exports(Counter), ["init-handler", "fetch-handler"])
            self.assertEqual(exports(Reminder), ["init-handler", "fetch-handler", "alarm-handler"])
            self.assertEqual(exports(Room), ["init-handler", "fetch-handler", "alarm-handler", "websocket-handler"])

    def test_a_class_can_wait_if_it_has_a_coroutine_or_knows_asyncio(self) -> None:
        class Waiting(Counter):
            async def alarm(self, info: object) -> None:
                pass

        class Wrapping(Counter):
            @functools.wraps(Waiting.alarm)
            def help(self) -> None:
                pass

        with unittest.mock.patch.dict(sys.modules):
            sys.modules.pop("asyncio", None)
            self.assertFalse(waits(Counter))
            self.assertTrue(waits(Waiting) and waits(Wrapping))
            self.assertEqual(exports(Waiting), ["init-handler", "fetch-handler", "alarm-handler", "later-handler"])
            sys.modules["asyncio"] = ModuleType("asyncio")
            self.assertTrue(waits(Counter))

    def test_mistakes_are_told(self) -> None:
        class Silent(DurableObject):
            pass

        with self.assertRaisesRegex(BuildError, "Silent has no method `fetch`"):
            exports(Silent)

    def test_what_is_wrong_with_a_module_is_shown_as_its_author_knows_it(self) -> None:
        self.addCleanup(setattr, sys, "path", sys.path[:])
        self.addCleanup(setattr, sys, "dont_write_bytecode", sys.dont_write_bytecode)
        with tempfile.TemporaryDirectory() as place:
            for name, source, expected in (
                ("broken_syntax", "x = = 1", "SyntaxError: invalid syntax\n"),
                ("broken_name", "def f():\n    return y\nf()", "NameError: name 'y' is not defined\n"),
            ):
                Path(place, f"{name}.py").write_text(source)
                shown = io.StringIO()
                with (
                    contextlib.redirect_stderr(shown),
                    self.assertRaisesRegex(BuildError, f"`{name}` cannot be imported"),
                ):
                    import_project(Path(place), name)
                self.assertTrue(shown.getvalue().endswith(expected), shown.getvalue())
                self.assertIn(f"{name}.py", shown.getvalue())
                self.assertNotIn("importlib", shown.getvalue())

    def test_of_componentize_py_only_the_complaint_is_shown(self) -> None:
        ours = 'Traceback (most recent call last):\n  File "/0/main.py", line 1\nModuleNotFoundError: x'
        its = f"Traceback ...\nAssertionError: {ours}\n\n\nCaused by:\n    x\n\nStack backtrace:\n   0: f"
        self.assertEqual(complaint(its), ours)
        wit = "Traceback ...\nAssertionError: no world\n\nCaused by:\n    why\n\nStack backtrace:\n   0: f"
        self.assertEqual(complaint(wit), "no world\n\nCaused by:\n    why\n")


if __name__ == "__main__":
    unittest.main()
