"""Reading a reaction: its parameters say what it is given, its return what it may emit."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType, UnionType
from typing import Any, Never, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from sagas.decision import Context, Decision, Refusal
from sagas.envelope import Message, event_type
from sagas.reaction import Reaction, Trigger

__all__ = ["Unclear", "bind_parameters", "insists_on_state", "read_hints", "verify_emissions"]

#: Frames of the declaring itself, to be looked through for the one that declares.
_OURS = ("sagas.annotations", "sagas.kind", "sagas.participant")


class Unclear(Exception):
    """An annotation is missing, or says something else than the declaration."""


def read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, also of one that is declared inside another (a test, say)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _OURS:
        frame = frame.f_back
    try:
        return get_type_hints(function, localns={} if frame is None else dict(frame.f_locals))
    except NameError as error:
        raise Unclear(f"its annotations cannot be read: {error}") from error


def bind_parameters(
    reaction: Reaction, state: type[BaseModel], hints: Mapping[str, Any]
) -> tuple[tuple[str, Any], ...]:
    """How to fill each parameter (see ``Reaction.parameters``)."""
    bound: list[tuple[str, Any]] = []
    for name in inspect.signature(reaction.function).parameters:
        if name not in hints:
            raise Unclear(f"parameter {name!r} has no type annotation")
        types = set(_members(hints[name])) - {type(None)}
        if types == {state}:
            bound.append((name, "state"))
        elif types == {Context}:
            bound.append((name, "context"))
        elif types == {Message}:
            bound.append((name, "message"))
        elif types and types <= set(reaction.triggers) | {BaseModel}:
            missing = set(reaction.triggers) - types
            if missing and BaseModel not in types:
                raise Unclear(
                    f"parameter {name!r} does not take {_names(missing)}, which trigger it"
                )
            bound.append((name, "event"))
        else:
            bound.append((name, _resource(name, types, state)))
    return tuple(bound)


def insists_on_state(state: type[BaseModel], hints: Mapping[str, Any]) -> bool:
    """Whether some parameter takes the state and nothing but the state."""
    return any(set(_members(hint)) == {state} for name, hint in hints.items() if name != "return")


def _resource(name: str, types: set[Any], state: type[BaseModel]) -> type:
    resource = next(iter(types), None)
    if len(types) != 1 or not isinstance(resource, type):
        raise Unclear(f"parameter {name!r} has an unclear type")
    if issubclass(resource, BaseModel):
        raise Unclear(
            f"parameter {name!r} is a {resource.__name__}, which is neither its trigger nor the "
            f"state {state.__name__}"
        )
    return resource


def verify_emissions(reaction: Reaction, returns: Any) -> None:
    """Whatever it may return is declared."""
    seen: set[Trigger] = set()
    for member in _members(returns):
        if get_origin(member) is Decision:
            seen.update(_members(get_args(member)[1]))
        elif member not in (Refusal, type(None)):
            raise Unclear(
                "annotate what it returns as `Decision[State, EventA | EventB]` "
                "(`Never` when it emits nothing)"
            )
    seen -= {Never, type(None)}
    if undeclared := seen - reaction.emission_types:
        raise Unclear(
            f"it may return {_names(undeclared)}, which it does not declare; add to `emits`"
        )


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint itself."""
    if hint is None:
        return (type(None),)
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _names(classes: set[Trigger]) -> str:
    return ", ".join(sorted(event_type(cls) for cls in classes))
