"""What the check reports: a stable code, a place in the source, words, a trace, and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sagas.reaction import Reaction

__all__ = ["CODES", "Code", "Finding", "Happening", "Place", "Severity", "listed"]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Code:
    """A rule: its stable code, how bad a breach is, and one sentence that says what is wrong."""

    code: str
    name: str
    severity: Severity
    title: str


def _codes(*rows: tuple[str, str, Severity, str]) -> dict[str, Code]:
    return {row[0]: Code(*row) for row in rows}


_E, _W = Severity.ERROR, Severity.WARNING

#: Codes are stable: one that is dropped is never given to another rule.
CODES: Final = _codes(
    ("SAGA001", "wrong-declaration", _E, "A declaration is wrong in itself."),
    ("SAGA101", "awaited-never-emitted", _E, "An event is awaited that nobody emits."),
    ("SAGA102", "emitted-never-heard", _W, "An event is emitted that nobody hears."),
    ("SAGA103", "emission-never-returned", _W, "A declared emission can never be returned."),
    ("SAGA104", "end-never-emitted", _E, "A terminal event is emitted by nobody."),
    ("SAGA105", "step-never-runs", _E, "A step can never run."),
    ("SAGA201", "failure-without-undo", _E, "A step stays done after a failure: it has no undo."),
    ("SAGA202", "undo-not-certain", _E, "A step stays done: its undo may never be triggered."),
    ("SAGA203", "failure-without-end", _E, "A failure never reaches a terminal event."),
    ("SAGA204", "flow-without-end", _E, "The flow stops before any terminal event."),
    ("SAGA205", "several-pivots", _E, "There is more than one pivot."),
    ("SAGA206", "undo-past-the-pivot", _E, "A step past the pivot has an undo."),
    ("SAGA207", "gives-up-past-the-pivot", _E, "A step past the pivot stops retrying."),
    ("SAGA208", "refuses-past-the-pivot", _E, "A step beside the pivot may refuse after it."),
    ("SAGA301", "two-ends", _E, "A saga may end both completed and compensated."),
    ("SAGA302", "completed-though-undone", _E, "A saga may complete although a step is undone."),
    ("SAGA303", "undo-without-tombstone", _E, "An undo may come first, and its step still run."),
    ("SAGA304", "stated-rule-broken", _E, "A rule stated for the choreography can be broken."),
    ("SAGA305", "undo-crosses-the-pivot", _E, "An undo and the pivot may cross."),
    ("SAGA306", "document-never-there", _E, "A reaction needs a document that may never be."),
    ("SAGA401", "cycle-without-a-bound", _E, "Reactions may start each other for ever."),
    ("SAGA402", "deadline-before-retries", _E, "The saga's deadline is shorter than its retries."),
    ("SAGA501", "version-without-upcaster", _E, "A version of an event cannot be read."),
    ("SAGA502", "event-unreadable", _E, "A consumer cannot read what its producer sends."),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file."""

    file: str
    line: int

    @classmethod
    def of(cls, what: Reaction | Callable[..., Any] | type) -> Place | None:
        """Where a reaction or a class is declared; ``None``: it has no source here."""
        if isinstance(what, Reaction):
            what = what.function
        code = getattr(what, "__code__", None)
        if code is not None:
            return cls(code.co_filename, code.co_firstlineno)
        try:
            return cls(str(inspect.getsourcefile(what)), inspect.getsourcelines(what)[1])
        except (OSError, TypeError):
            return None

    @property
    def shown(self) -> str:
        """The file, relative to the current directory when it lies below it."""
        file = Path(self.file)
        try:
            return file.relative_to(Path.cwd()).as_posix()
        except ValueError:
            return file.as_posix()

    def __str__(self) -> str:
        return f"{self.shown}:{self.line}"


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a trace: who did what, and which events it sent."""

    participant: str
    reaction: str
    what: str
    events: tuple[str, ...] = ()
    #: Where the reaction is declared; ``None``: it comes from outside.
    place: Place | None = None

    def __str__(self) -> str:
        said = f" → {', '.join(self.events)}" if self.events else ""
        return f"{self.participant}.{self.reaction} {self.what}{said}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a rule. ``subject`` names the reaction or event that it is about."""

    code: str
    subject: str
    place: Place | None
    message: str
    advice: str
    trace: tuple[Happening, ...] = ()
    #: Weaker than its rule's own: a wrong end that a timer would still put right, say.
    weaker: bool = False

    @property
    def rule(self) -> Code:
        return CODES[self.code]

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.weaker else self.rule.severity


def listed(names: Sequence[str], word: str = "or") -> str:
    """``A``, ``A or B``, ``A, B or C``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"
