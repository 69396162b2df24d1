"""``MODULE:ATTR``: find a choreography, and say in one line why it cannot be found."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from sagas.check.finding import Finding, Place, listed
from sagas.check.never import Never
from sagas.errors import DeclarationError, SagaError
from sagas.flow import Choreography

__all__ = ["CannotLoad", "Loaded", "declaration_finding", "import_named", "load"]

_AT = re.compile(r"^(?P<file>[^:\n]+\.py):(?P<line>\d+): (?P<what>.*)$", re.DOTALL)


class CannotLoad(SagaError):
    """There is no such choreography, or its module does not import."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A choreography, and what stands next to it in its module."""

    choreography: Choreography
    rules: tuple[Never, ...]
    deadline_s: float | None


def load(target: str) -> Loaded:
    """Import ``MODULE:ATTR``; the current directory comes first.

    ``ATTR_rules`` next to it holds its stated rules, ``ATTR_deadline_s`` the saga's deadline. What
    the module prints goes to standard error: the report has standard output to itself. Raises
    ``CannotLoad``, and ``DeclarationError`` as it comes.
    """
    module, attribute = import_named(target, such_as="shop.flow:choreography")
    name = module.__name__
    choreography = getattr(module, attribute, None)
    if not isinstance(choreography, Choreography):
        others = [key for key, value in vars(module).items() if isinstance(value, Choreography)]
        found = f"it has {listed(others, 'and')}" if others else "it has none"
        raise CannotLoad(f"{name} has no choreography {attribute!r}; {found}")
    rules = getattr(module, f"{attribute}_rules", ())
    if not isinstance(rules, Sequence) or not all(isinstance(rule, Never) for rule in rules):
        raise CannotLoad(f"{name}.{attribute}_rules must be a list of `sagas.check.Never`")
    deadline_s = getattr(module, f"{attribute}_deadline_s", None)
    if deadline_s is not None and not (isinstance(deadline_s, int | float) and deadline_s > 0):
        raise CannotLoad(f"{name}.{attribute}_deadline_s must be a number of seconds above 0")
    return Loaded(choreography, tuple(rules), deadline_s)


def import_named(target: str, *, such_as: str) -> tuple[ModuleType, str]:
    """The module and the attribute that ``MODULE:ATTR`` names; raises as ``load`` does."""
    name, _, attribute = target.partition(":")
    if name.endswith(".py"):
        module_name = ".".join(Path(name).with_suffix("").parts)
        raise CannotLoad(
            f"{name} is a file: name its module, `{module_name}:{attribute or 'ATTR'}`"
        )
    if not all(part.isidentifier() for part in (*name.split("."), attribute)):
        raise CannotLoad(f"{target!r} is not MODULE:ATTR, such as `{such_as}`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _imported(name), attribute


def _imported(name: str) -> ModuleType:
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except DeclarationError:
        raise
    # Whatever the module does when it is imported, leaving by `sys.exit` included.
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in _packages(name):
            raise CannotLoad(
                f"there is no module {error.name!r} in {os.getcwd()} or on Python's path"
            ) from error
        what = " ".join(str(error).split()) or "no message"
        told = f"{type(error).__name__}: {what}{_where(error)}"
        raise CannotLoad(f"{name} does not import: {told}") from error


def _packages(name: str) -> list[str]:
    """The module and the packages that it is in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _where(error: BaseException) -> str:
    """The line that raised it, unless the message tells that itself."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and frame.filename != __file__
    ]
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({Place(frames[-1].filename, frames[-1].lineno or 1)})"


def _declared_at(error: BaseException) -> Place | None:
    """The last line outside of the engine: there the wrong declaration is made."""
    engine = str(Path(__file__).parents[1])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((engine, "<")):
            return Place(frame.filename, frame.lineno or 1)
    return None


def declaration_finding(error: DeclarationError) -> Finding:
    """A declaration that is refused at import, as a finding like any other."""
    found = _AT.match(str(error))
    place = _declared_at(error) if found is None else Place(found["file"], int(found["line"]))
    return Finding(
        "SAGA001",
        "declaration",
        place,
        str(error) if found is None else found["what"],
        "Correct the declaration; nothing else was checked.",
    )
