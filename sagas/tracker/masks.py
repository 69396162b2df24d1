"""What an event class lets people see, read once from its declarations.

A field is hidden when it is marked ``json_schema_extra={"sensitive": True}``, at any depth, on the
field itself or inside its annotation (``list[Annotated[str, ...]]``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, RootModel
from pydantic.fields import ComputedFieldInfo, FieldInfo

__all__ = ["NOTHING_KNOWN", "Fields", "Leaf", "Mask", "Values", "mask_of", "trusting"]


class Leaf(Enum):
    #: A plain value: kept. An object in its place is not what was declared, and goes.
    PLAIN = "plain"
    #: Declared without a shape (``Any``): kept as it is.
    WHOLE = "whole"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Fields:
    """A model: each field has its mask, and what is not among them is hidden."""

    masks: Mapping[str, Mask]
    #: The same place may also hold a plain value (``Address | str``).
    or_plain: bool = False


@dataclass(frozen=True, slots=True)
class Values:
    """A mapping whose keys are no fields: one mask for every value."""

    mask: Mask


#: Items of a list have the mask of the list.
Mask = Leaf | Fields | Values

NOTHING_KNOWN: Final = Fields({})


def mask_of(cls: type[BaseModel]) -> tuple[Fields, bool]:
    """The mask of an event class, and whether its instances have only declared fields."""
    reader = _Reader()
    mask = reader.model(cls)
    return (mask if isinstance(mask, Fields) else NOTHING_KNOWN), reader.closed


def trusting(mask: Mask, outer: tuple[Mapping[str, Mask], ...] = ()) -> Mask:
    """``mask`` for data known to be as declared: what has nothing to hide is not looked into."""
    if isinstance(mask, Values):
        inner = trusting(mask.mask, outer)
        return Leaf.WHOLE if inner is Leaf.WHOLE else Values(inner)
    if not isinstance(mask, Fields):
        return Leaf.HIDDEN if mask is Leaf.HIDDEN else Leaf.WHOLE
    if any(mask.masks is each for each in outer):
        return mask  # a model within itself
    masks = {name: trusting(each, (*outer, mask.masks)) for name, each in mask.masks.items()}
    if all(each is Leaf.WHOLE for each in masks.values()):
        return Leaf.WHOLE
    return Fields(masks, mask.or_plain)


class _Reader:
    """Walks the models that one class consists of."""

    def __init__(self) -> None:
        self.closed = True
        self._known: dict[type[BaseModel], dict[str, Mask]] = {}

    def model(self, cls: type[BaseModel]) -> Mask:
        if issubclass(cls, RootModel):
            self.closed = False  # rare: not worth a case of its own
            return self._field(cls.model_fields["root"])
        if cls in self._known:
            return Fields(self._known[cls])  # seen before, or a model within itself
        self.closed = self.closed and cls.model_config.get("extra") != "allow"
        masks = self._known[cls] = {}
        declared: dict[str, FieldInfo | ComputedFieldInfo] = {
            **cls.model_fields,
            **cls.model_computed_fields,
        }
        for name, field in declared.items():
            mask = self._field(field)
            for spelling in (name, *_aliases(field)):
                masks[spelling] = mask
        return Fields(masks)

    def _field(self, field: FieldInfo | ComputedFieldInfo) -> Mask:
        if _is_marked(field):
            return Leaf.HIDDEN
        typed = field.return_type if isinstance(field, ComputedFieldInfo) else field.annotation
        return self._annotation(typed)

    def _annotation(self, typed: Any) -> Mask:
        typed = getattr(typed, "__value__", typed)  # a named alias
        origin, arguments = get_origin(typed), get_args(typed)
        if origin is Annotated:
            infos = [each for each in arguments[1:] if isinstance(each, FieldInfo)]
            marked = any(map(_is_marked, infos))
            return Leaf.HIDDEN if marked else self._annotation(arguments[0])
        if origin in (Union, UnionType):
            members = [each for each in arguments if each is not NoneType]
            return _merged([self._annotation(each) for each in members])
        if isinstance(typed, type) and issubclass(typed, BaseModel):
            return self.model(typed)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return Values(self._annotation(arguments[1]))
        if isinstance(origin, type) and issubclass(origin, Iterable):
            items = [each for each in arguments if each is not Ellipsis]
            return _merged([self._annotation(each) for each in items])
        return Leaf.WHOLE if typed in (Any, object, dict, list, tuple) else Leaf.PLAIN


def _is_marked(field: FieldInfo | ComputedFieldInfo) -> bool:
    extra = field.json_schema_extra
    if callable(extra):
        schema: dict[str, Any] = {}
        extra(schema)
        extra = schema
    return extra is not None and bool(extra.get("sensitive"))


def _aliases(field: FieldInfo | ComputedFieldInfo) -> list[str]:
    names: list[object] = [field.alias]
    if isinstance(field, FieldInfo):
        names += [field.validation_alias, field.serialization_alias]
    return [name for name in names if isinstance(name, str)]


def _merged(masks: list[Mask]) -> Mask:
    """One mask for a place that may hold several things: the strictest that fits them all."""
    if len(masks) == 1:
        return masks[0]
    if Leaf.HIDDEN in masks:
        return Leaf.HIDDEN
    models = [mask for mask in masks if isinstance(mask, Fields)]
    if models:
        plain = len(models) < len(masks) or any(mask.or_plain for mask in models)
        if len(models) == 1:
            return Fields(models[0].masks, plain)
        names = dict.fromkeys(name for mask in models for name in mask.masks)
        return Fields(
            {
                name: _merged([mask.masks[name] for mask in models if name in mask.masks])
                for name in names
            },
            plain,
        )
    if mappings := [mask for mask in masks if isinstance(mask, Values)]:
        return Values(_merged([mask.mask for mask in mappings]))
    return Leaf.PLAIN if Leaf.PLAIN in masks or not masks else Leaf.WHOLE
