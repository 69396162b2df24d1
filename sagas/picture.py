"""What a choreography looks like: boxes and arrows from its declarations, whatever draws them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sagas.envelope import event_type
from sagas.events import origin
from sagas.reaction import Reaction, ReactionKind

if TYPE_CHECKING:
    from sagas.flow import Choreography
    from sagas.kind import Step

__all__ = ["Arrow", "Box", "Picture", "mermaid", "picture"]

Trigger = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Box:
    """``kind``: step, pivot, undo, follow (it passes an event on), start or end.

    ``group`` is the participant, ``beside`` the step that an undo undoes; ``notes`` stand below the
    label.
    """

    id: str
    label: str
    group: str
    kind: str
    beside: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrow:
    """``event`` leads from one box to another; ``back``: something failed or is undone."""

    source: str
    target: str
    event: str
    back: bool


@dataclass(slots=True)
class Picture:
    """The boxes in the order of declaration, then starts and ends; and the arrows."""

    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def picture(choreography: Choreography) -> Picture:
    """Steps and undos, what passes events on between them, what starts and what ends them."""
    return _Painter(choreography).picture


class _Painter:
    def __init__(self, choreography: Choreography) -> None:
        self.choreography = choreography
        self.picture = Picture()
        self.ids: dict[int, str] = {}
        self.inside: list[Reaction] = []
        for step in choreography.steps:
            self._add_step(step)
        while found := next(self._passing_on(), None):
            self._add(found, Box(self._free_id(found), found.name, _owner(found), "follow"))
        self._add_arrows()
        self._add_starts()
        self._add_ends()

    # ----------------------------------------------------------------------------------- boxes

    def _add(self, reaction: Reaction, box: Box) -> None:
        self.inside.append(reaction)
        self.ids[id(reaction)] = box.id
        self.picture.boxes.append(box)

    def _add_step(self, step: Step[Any]) -> None:
        group, notes = step.kind.participant.name, list[str]()
        if step.pivot:
            notes.append("pivot: no way back")
        if step.kept_on:
            notes.append(f"kept on {' or '.join(event_type(cls) for cls in step.kept_on)}")
        kind = "pivot" if step.pivot else "step"
        self._add(step.reaction, Box(step.name, step.name, group, kind, notes=tuple(notes)))
        if step.undo is not None:
            undo = step.undo
            self._add(undo, Box(undo.name, undo.name, group, "undo", beside=step.name))

    def _passing_on(self) -> Iterator[Reaction]:
        """Followers that hear what is said inside, and say what is waited for there."""
        choreography = self.choreography
        said = {cls for reaction in self.inside for cls in reaction.says}
        wanted = {*choreography.completed_by, *choreography.compensated_by}
        wanted.update(cls for reaction in self.inside for cls in reaction.triggers)
        for reaction in self._everybody():
            passes = reaction.role is ReactionKind.FOLLOW and id(reaction) not in self.ids
            if passes and said & {*reaction.triggers} and wanted & {*reaction.says}:
                yield reaction

    def _free_id(self, reaction: Reaction) -> str:
        taken = reaction.name in self.ids.values()
        return f"{_owner(reaction)}_{reaction.name}" if taken else reaction.name

    def _everybody(self) -> Iterator[Reaction]:
        for participant in self.choreography.participants:
            yield from participant.reactions()

    # ---------------------------------------------------------------------------------- arrows

    def _add_arrows(self) -> None:
        backward = {id(reaction) for reaction in self.inside if reaction.role is ReactionKind.UNDO}
        # What passes on nothing but bad news is on the way back itself; the last in a row shows
        # after as many rounds.
        for _ in self.inside:
            for reaction in self.inside:
                if reaction.role is ReactionKind.FOLLOW and self._hears_only_back(
                    reaction, backward
                ):
                    backward.add(id(reaction))
        for source in self.inside:
            for cls in dict.fromkeys(source.says):
                back = id(source) in backward or cls in source.may_refuse
                self.picture.arrows += [
                    Arrow(self.ids[id(source)], self.ids[id(target)], event_type(cls), back)
                    for target in self.inside
                    if cls in target.triggers
                ]

    def _hears_only_back(self, reaction: Reaction, backward: set[int]) -> bool:
        return all(
            id(source) in backward or cls in source.may_refuse
            for cls in reaction.triggers
            for source in self.inside
            if cls in source.says
        )

    # -------------------------------------------------------------------------- starts and ends

    def _add_starts(self) -> None:
        """What enters the flow from outside, or from a command or a timer beside it."""
        inner = {cls for reaction in self.inside for cls in reaction.says}
        boxes: dict[str, Box] = {}
        for reaction in self.inside:
            for cls in reaction.triggers:
                if cls in inner:
                    continue
                name = event_type(cls)
                label = "\n".join(self._origins(cls))
                boxes.setdefault(name, Box(name, label, "", "start"))
                back = reaction.role is ReactionKind.UNDO
                self.picture.arrows.append(Arrow(name, self.ids[id(reaction)], name, back))
        self.picture.boxes += boxes.values()

    def _origins(self, cls: Trigger) -> list[str]:
        """Who says an event that nobody inside says: a request, somebody outside, a timer."""
        if (who := origin(cls)) is not None:
            return [who]
        found: list[str] = []
        for reaction in self._everybody():
            if cls not in reaction.says:
                continue
            outside = [who for each in reaction.triggers if (who := origin(each)) is not None]
            if reaction.timer is not None:
                found.append(f"{_owner(reaction)}'s {reaction.timer} timer")
            else:
                found += outside or [f"{_owner(reaction)}'s {reaction.name}"]
        return list(dict.fromkeys(found)) or [event_type(cls)]

    def _add_ends(self) -> None:
        choreography = self.choreography
        good, bad = choreography.completed_by, choreography.compensated_by
        for word, classes in (("completed", good), ("compensated", bad)):
            if classes:
                self.picture.boxes.append(Box(word, word, "", "end"))
            self.picture.arrows += [
                Arrow(self.ids[id(reaction)], word, event_type(cls), classes is bad)
                for cls in classes
                for reaction in self.inside
                if cls in reaction.says
            ]


def _owner(reaction: Reaction) -> str:
    return reaction.kind.participant.name


# ------------------------------------------------------------------------------------- Mermaid

_SHAPES = {
    "step": ("[", "]"),
    "pivot": ("{{", "}}"),
    "undo": ("([", "])"),
    "follow": ("(", ")"),
    "start": ("[/", "/]"),
    "end": ("((", "))"),
}
#: Words that Mermaid takes for its own.
_RESERVED = frozenset({"class", "click", "default", "end", "graph", "style", "subgraph"})


def mermaid(choreography: Choreography) -> str:
    """The flow as a Mermaid flowchart: steps solid, refusals and undos dotted."""
    painted = picture(choreography)
    lines = ["flowchart TD"]
    for number, group in enumerate(dict.fromkeys(box.group for box in painted.boxes)):
        inside = [_node(box) for box in painted.boxes if box.group == group]
        if group:
            # An id of its own: a participant may be called like one of its steps.
            inside = [f"  subgraph participant_{number}[{_text([group])}]", *inside, "  end"]
        lines += inside
    lines += map(_arrow, painted.arrows)
    return "\n".join(lines) + "\n"


def _node(box: Box) -> str:
    before, after = _SHAPES[box.kind]
    indent = "    " if box.group else "  "
    return f"{indent}{_id(box.id)}{before}{_text([*box.label.splitlines(), *box.notes])}{after}"


def _arrow(arrow: Arrow) -> str:
    line = f"-. {arrow.event} .->" if arrow.back else f"-- {arrow.event} -->"
    return f"  {_id(arrow.source)} {line} {_id(arrow.target)}"


def _id(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return f"{plain}_" if plain.lower() in _RESERVED else plain


def _text(lines: Iterable[str]) -> str:
    return '"' + "<br>".join(line.replace('"', "#quot;") for line in lines) + '"'
