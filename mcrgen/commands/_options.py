"""How options look in the help of every command, so that the configuration dataclasses need not say it one by one."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import reduce
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

_SEEN: Any = "mcrgen.commands._options"
"""Among tyro's markers: the rules below have been here, and tyro's own are asked for."""
_MISSING = (tyro.constructors.MISSING, tyro.constructors.MISSING_NONPROP)


def plain_options() -> ConstructorRegistry:
    """Rules for :func:`tyro.cli` that keep None and empty defaults out of the help; what is accepted stays the same.

    - An optional option is shown as what it holds, ``INT`` and not ``{None}|INT``; the word None is still understood.
    - An option that is None or empty has no "(default: ...)": its text says what becomes of it.
    - A positional list without a default is "(required)".
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_optional)
    registry.struct_rule(_section)
    return registry


def _optional(info: PrimitiveTypeInfo) -> Any:
    """The rule of tyro for ``X | None``, shown as X."""
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if info.type_origin not in (Union, UnionType) or len(kinds) == len(get_args(info.type)) or _SEEN in info.markers:
        return None
    spec = ConstructorRegistry.get_primitive_spec(replace(info, markers=info.markers | {_SEEN}))
    held = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(reduce(operator.or_, kinds), info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec) or not isinstance(held, PrimitiveConstructorSpec):
        return spec
    parse, metavar = spec.instance_from_str, held.metavar

    def told(args: list[str]) -> Any:
        try:
            return parse(args)
        except ValueError as error:
            raise ValueError(f"expected {metavar}, got '{' '.join(args)}'.") from error

    return replace(spec, metavar=metavar, instance_from_str=told)


def _section(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The rule of tyro for a dataclass, its fields with the hints of :func:`_hint`."""
    if _SEEN in info.markers:
        return None
    spec = ConstructorRegistry.get_struct_spec(replace(info, markers=(*info.markers, _SEEN)))
    if not isinstance(spec, StructConstructorSpec):
        return None
    return replace(spec, fields=tuple(map(_hinted, spec.fields)))


def _hinted(field: StructFieldSpec) -> StructFieldSpec:
    hint = _hint(field)
    if hint is None:
        return field
    kind: Any = Annotated[field.type, tyro.conf.arg(help_behavior_hint=hint)]
    return replace(field, type=kind)


def _hint(field: StructFieldSpec) -> str | None:
    """What stands behind the text of an option; None for what tyro writes there, the default or "(repeatable)"."""
    metadata = getattr(field.type, "__metadata__", ())
    if tyro.conf.UseAppendAction in metadata:
        return None
    if field.default is None or field.default == ():
        return ""
    kind = get_args(field.type)[0] if metadata else field.type
    return "(required)" if field.default in _MISSING and get_origin(kind) is tuple else None
