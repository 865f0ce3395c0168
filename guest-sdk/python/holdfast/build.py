"""Builds a project to a component: `python -m holdfast.build PROJECT --output FILE`.

The project is imported here first, to see which handlers its class defines, and once more inside of the component,
whose memory is then what every object begins with. Needs what `requirements.txt` of this SDK names, and what the
project depends on, in the environment that it runs in. Does not install anything.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from pathlib import Path
from types import ModuleType

from .object import DurableObject

SDK = Path(__file__).resolve().parents[1]
WIT = SDK.parents[1] / "wit"

HANDLERS = {
    "fetch-handler": ["fetch"],
    "alarm-handler": ["alarm"],
    "websocket-handler": ["websocket_message", "websocket_close", "websocket_error"],
}
"""The interfaces of the contract that a class can export, and the methods that do it."""


class BuildError(Exception):
    """What is wrong with the project, in words for its author."""


def find_class(module: ModuleType) -> type[DurableObject]:
    """The class of a project's module: what derives from `DurableObject`, and has nothing derived from it there."""
    name = module.__name__
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, DurableObject) and item.__module__ == name
    ]
    last = [one for one in found if not any(other is not one and issubclass(other, one) for other in found)]
    if len(last) == 1:
        return last[0]
    if not last:
        raise BuildError(f"the module `{name}` has no class that derives from DurableObject")
    names = ", ".join(one.__name__ for one in last)
    raise BuildError(f"the module `{name}` has more than one class: {names}. Put all but one into other modules")


def exports(cls: type[DurableObject]) -> list[str]:
    """The interfaces that a component of this class exports: those of the handlers that the class defines."""
    defined = ["init-handler"]
    for interface, handlers in HANDLERS.items():
        own = [name for name in handlers if getattr(cls, name) is not getattr(DurableObject, name)]
        if own:
            defined.append(interface)
    if "fetch-handler" not in defined:
        raise BuildError(f"{cls.__name__} has no method `fetch`, which every class has")
    if waits(cls):
        defined.append("later-handler")
    return defined


def waits(cls: type[DurableObject]) -> bool:
    """Whether a class can wait: it has a coroutine, or something that it imports uses `asyncio`."""
    methods = (getattr(cls, name) for name in dir(cls))
    return "asyncio" in sys.modules or any(
        inspect.iscoroutinefunction(inspect.unwrap(method)) for method in methods if callable(method)
    )


def import_project(project: Path, name: str) -> ModuleType:
    """The project's module; what goes wrong in it is shown as if the project had been run by itself."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(project))
    try:
        return importlib.import_module(name)
    except Exception as error:
        trace = error.__traceback__
        while trace and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(project):
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace))
        raise BuildError(f"the module `{name}` cannot be imported; see above") from None


def build(project: Path, module: str, output: Path) -> None:
    """Builds the component of a project whose class is in this module."""
    cls = find_class(import_project(project, module))
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        # One world for each set of handlers: what is not exported is not called.
        interfaces = "".join(f"    export holdfast:object/{name}@0.2.0;\n" for name in exports(cls))
        world = f"world class {{\n    include holdfast:object/imports@0.2.0;\n{interfaces}}}\n"
        (work / "built.wit").write_text("package holdfast:built;\n\n" + world)
        (work / "holdfast_entry.py").write_text(
            # Compiled files beside the sources would look like changes to a program that watches them.
            "import sys\nsys.dont_write_bytecode = True\n"
            f"from {module} import {cls.__name__}\n"
            "from holdfast._entry import AlarmHandler, FetchHandler, InitHandler, LaterHandler, WebsocketHandler\n"
            "from holdfast._entry import register\n"
            f"register({cls.__name__}, waits={waits(cls)})\n"
        )
        componentize(work, project, output)


def componentize(work: Path, project: Path, output: Path) -> None:
    """Runs componentize-py, which makes the component and imports the entry inside of it."""
    program = Path(sys.executable).parent / "componentize-py"
    command: list[str | Path] = [program, "-q", "-d", WIT, "-d", work / "built.wit", "-w", "holdfast:built/class"]
    command += ["componentize", "holdfast_entry", "-o", output]
    for path in (project, SDK, work, sysconfig.get_path("purelib")):
        command += ["-p", path]
    # Otherwise it would look for packages in other places, too.
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    try:
        finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"there is no {program}; install what {SDK / 'requirements.txt'} names") from None
    if finished.returncode != 0:
        raise BuildError(f"componentize-py failed: {complaint(finished.stderr)}")


def complaint(stderr: str) -> str:
    """What componentize-py complains of: the traceback of the project's code where there is one, without its own."""
    said = stderr.partition("\nStack backtrace:")[0].rpartition("AssertionError: ")[2]
    return said.partition("\n\nCaused by:")[0].rstrip() if said.startswith("Traceback") else said


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m holdfast.build", description="Build a project to a component.")
    parser.add_argument("project", type=Path, help="the project's directory")
    parser.add_argument("--output", type=Path, required=True, help="the component's file")
    parser.add_argument("--module", default="main", help="the module that has the class (default: main)")
    arguments = parser.parse_args()
    try:
        build(arguments.project.resolve(), arguments.module, arguments.output)
    except BuildError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
