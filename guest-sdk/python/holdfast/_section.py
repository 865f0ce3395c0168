"""Sections: what runs inside a transaction, or inside `Context.exclusive`.

Owns: which section is open, and to which one running code belongs. The context of `contextvars` carries that: a task
belongs to its section wherever it goes on.

What must stay true: while a section is open, `_late` runs no code of outside. A transaction ends with its turn.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

__all__ = ["Section", "enter", "leave", "leave_all", "may_run", "must_end"]


class Section:
    """One that is open, or was."""

    __slots__ = ("is_open", "parent", "spans_turns")

    def __init__(self, parent: Section | None, spans_turns: bool) -> None:
        self.parent = parent
        self.spans_turns = spans_turns
        self.is_open = True


innermost: Section | None = None
"""The one that is open, inside of all others that are."""

_own: contextvars.ContextVar[Section | None] = contextvars.ContextVar("section", default=None)


def enter(spans_turns: bool = False) -> Section:
    """Opens a section for the code that runs."""
    global innermost
    innermost = Section(innermost, spans_turns)
    _own.set(innermost)
    return innermost


def leave(section: Section) -> None:
    """Closes a section, and all that are inside of it."""
    global innermost
    while section.is_open and innermost is not None:
        innermost.is_open = False
        innermost = innermost.parent


def leave_all() -> None:
    """Closes all sections."""
    for section in _open():
        leave(section)


def may_run(context: contextvars.Context) -> bool:
    """Whether code with this context may run: it is inside of the innermost section."""
    section = context.get(_own)
    while section is not None and not section.is_open:
        section = section.parent
    return section is innermost


def must_end() -> bool:
    """Whether a section is open that ends with the turn."""
    return any(not section.spans_turns for section in _open())


def _open() -> Iterator[Section]:
    section = innermost
    while section is not None:
        yield section
        section = section.parent
