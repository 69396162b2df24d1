"""``MODULE:ATTR``: find a choreography, and say in one line why it cannot be found."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sagas.check.finding import Finding, Place
from sagas.check.never import Never
from sagas.errors import DeclarationError, SagaError
from sagas.flow import Choreography

__all__ = ["CannotLoad", "Loaded", "declaration_finding", "load"]

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

    ``ATTR_rules`` next to it holds its stated rules, ``ATTR_deadline_s`` the saga's deadline.
    Raises ``CannotLoad``, and ``DeclarationError`` as it comes.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise CannotLoad(f"{target!r} is not MODULE:ATTR, such as `shop.flow:choreography`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except DeclarationError:
        raise
    except Exception as error:  # whatever the module does when it is imported
        what = " ".join(str(error).split()) or "no message"
        raise CannotLoad(f"{name} does not import: {type(error).__name__}: {what}") from error
    choreography = getattr(module, attribute, None)
    if not isinstance(choreography, Choreography):
        others = [key for key, value in vars(module).items() if isinstance(value, Choreography)]
        found = f"it has {', '.join(others)}" if others else "it has none"
        raise CannotLoad(f"{name} has no choreography {attribute!r}; {found}")
    rules: Sequence[Never] = getattr(module, f"{attribute}_rules", ())
    return Loaded(choreography, tuple(rules), getattr(module, f"{attribute}_deadline_s", None))


def declaration_finding(error: DeclarationError) -> Finding:
    """A declaration that is refused at import, as a finding like any other."""
    found = _AT.match(str(error))
    place = None if found is None else Place(found["file"], int(found["line"]))
    return Finding(
        "SAGA001",
        "declaration",
        place,
        str(error) if found is None else found["what"],
        "Correct the declaration; nothing else was checked.",
    )
