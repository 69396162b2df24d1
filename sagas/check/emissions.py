"""What a reaction can say: by its declaration, by its return type, and by its code.

Declarations do not say whether several events leave together or instead of each other; the calls of
``Decision`` in the function's source do.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import BaseModel

from sagas.participant import Reaction

__all__ = ["never_returned", "outcomes"]

Trigger = type[BaseModel]


def outcomes(reaction: Reaction) -> list[tuple[Trigger, ...]]:
    """The sets of events of which one leaves when the reaction succeeds."""
    emits = tuple(dict.fromkeys(reaction.emits))
    if len(emits) < 2 or _leave_together(reaction.function):
        return [emits]
    return [(event,) for event in emits]


def never_returned(reaction: Reaction) -> list[Trigger]:
    """Declared emissions that the function's return type leaves no room for."""
    declared = dict.fromkeys((*reaction.emits, *reaction.refuses))
    names = _returned_names(reaction.function)
    if names is None:
        return []
    return [event for event in declared if event.__name__ not in names]


def _leave_together(function: Callable[..., Any]) -> bool:
    tree = _parsed(function)
    if tree is None:
        return False
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Decision"
        # The state, then the events.
        and (len(node.args) > 2 or any(isinstance(each, ast.Starred) for each in node.args))
        for node in ast.walk(tree)
    )


def _parsed(function: Callable[..., Any]) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _returned_names(function: Callable[..., Any]) -> set[str] | None:
    """The names of all classes in the return type; ``None``: they cannot be told."""
    annotation = function.__annotations__.get("return")
    with suppress(NameError):  # declared inside a function, whose names are gone: the text does
        annotation = get_type_hints(function).get("return")
    if not isinstance(annotation, str):
        return _names_of(annotation)
    names: set[str] = set()
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            known = function.__globals__.get(name)
            names |= {name} if known is None else {name, *_names_of(known)}
    return names


def _names_of(hint: Any) -> set[str]:
    """The names of the classes that a type is made of."""
    found = {hint.__name__} if isinstance(hint, type) else set[str]()
    for part in getattr(hint, "__args__", ()):
        found |= _names_of(part)
    return found
