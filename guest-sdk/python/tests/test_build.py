"""Which class a build takes, and what it exports. Making the component itself is tested with the host."""

import unittest
from types import ModuleType

from tests import fake_host

fake_host.install()

from holdfast import DurableObject, Request, Response  # noqa: E402
from holdfast.build import BuildError, exports, find_class  # noqa: E402


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

        self.assertEqual(exports(Counter), ["lifecycle", "fetch-handler"])
        self.assertEqual(exports(Reminder), ["lifecycle", "fetch-handler", "alarm-handler"])
        self.assertEqual(exports(Room), ["lifecycle", "fetch-handler", "alarm-handler", "websocket-handler"])

    def test_mistakes_are_told(self) -> None:
        class Silent(DurableObject):
            pass

        class Waiting(Counter):
            async def alarm(self, info: object) -> None:  # type: ignore[override]
                pass

        with self.assertRaisesRegex(BuildError, "Silent has no method `fetch`"):
            exports(Silent)
        with self.assertRaisesRegex(BuildError, "Waiting.alarm is `async`"):
            exports(Waiting)


if __name__ == "__main__":
    unittest.main()
