"""What a reaction can say: by its declaration, by its return type, and by its code.

Declarations do not say whether several events leave together or instead of each other; the calls of
``Decision`` in the function's source do.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import combinations
from typing import Any, get_type_hints

from pydantic import BaseModel

from sagas.reaction import Reaction

__all__ = ["may_repeat", "never_returned", "outcomes", "refusing"]

Trigger = type[BaseModel]


def outcomes(reaction: Reaction, *, loose: bool = False) -> list[tuple[Trigger, ...]]:
    """The sets of events of which one leaves when the reaction succeeds.

    ``loose``: every set that the code leaves open, the empty one included. What a declaration
    promises may stay unsaid; what really arrives is compared with this.
    """
    emits = tuple(dict.fromkeys(reaction.emits))
    if loose:
        sizes = _sizes(reaction.function, len(emits))
        if reaction.spent is not None:
            sizes |= {0} & _sizes(reaction.spent.function, 0)
        return list(_sets(emits, sizes))
    if len(emits) < 2 or _leave_together(reaction.function):
        return [emits]
    return [(event,) for event in emits]


def refusing(reaction: Reaction, *, loose: bool = False) -> list[tuple[Trigger, ...]]:
    """The sets of events of which one leaves when the reaction says no: the refusal comes first."""
    if not loose:
        return [(event,) for event in reaction.may_refuse]
    emits = tuple(dict.fromkeys(reaction.emits))
    sizes = {max(size - 1, 0) for size in _sizes(reaction.function, len(emits) + 1)}
    return [(event, *more) for event in reaction.may_refuse for more in _sets(emits, sizes)]


def may_repeat(reaction: Reaction) -> bool:
    """Whether one decision may say the same event several times, as far as its code tells."""
    counts = _counts(reaction.function)
    return counts is None or any(count > 1 for count in counts)


def never_returned(reaction: Reaction) -> list[Trigger]:
    """Declared emissions that the function's return type leaves no room for."""
    declared = dict.fromkeys((*reaction.emits, *reaction.refuses))
    names = _returned_names(reaction.function)
    if names is None:
        return []
    return [event for event in declared if event.__name__ not in names]


def _sets(events: tuple[Trigger, ...], sizes: Collection[int]) -> Iterator[tuple[Trigger, ...]]:
    return (each for size in sorted(sizes) for each in combinations(events, size))


def _sizes(function: Callable[..., Any], most: int) -> set[int]:
    """How many different events one decision may say."""
    counts = _counts(function)
    if counts is None:
        return set(range(most + 1))
    # Of several, some may be of one type.
    return {size for count in counts for size in range(min(count, 1), min(count, most) + 1)}


def _counts(function: Callable[..., Any]) -> set[int] | None:
    """How many events its decisions have; ``None``: the code does not tell."""
    tree = _parsed(function)
    if tree is None:
        return None
    found = set[int]()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Return):
            continue
        made = node.value
        if not isinstance(made, ast.Call) or any(isinstance(e, ast.Starred) for e in made.args):
            return None
        if isinstance(made.func, ast.Name) and made.func.id == "Decision":
            # The state, then the events.
            found.add(len(made.args) - 1)
        elif not (isinstance(made.func, ast.Name) and made.func.id == "Refusal"):
            return None
    return found or None


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
