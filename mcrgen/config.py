"""Configuration: a dataclass, a YAML file and overrides become one checked dataclass instance.

The only module that touches OmegaConf; everywhere else configurations are plain dataclasses.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from mcrgen.errors import InputError, near_name, require_file

T = TypeVar("T")


def load(schema: type[T], path: Path | str | None = None, overrides: Sequence[str] = (), *, missing: Any = None) -> T:
    """Merge a schema's defaults, a YAML file and ``key=value`` overrides, later ones winning.

    Args:
        schema: dataclass type, possibly nested.
        path: YAML file with any subset of the schema's keys, or the bare name of a shipped recipe.
        overrides: dotted assignments such as ``data.image=rock.tif``.
        missing: what to put for required values given nowhere; None makes them an error.

    Returns:
        An instance of ``schema``.

    Raises:
        InputError: no such file, not YAML, an unknown key (the message suggests the nearest), a value of the wrong type, or a
            required value given nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    merged = OmegaConf.structured(schema)
    for name, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint) and OmegaConf.is_missing(merged, name):
            merged[name] = OmegaConf.structured(hint)
        if dataclasses.is_dataclass(hint):
            OmegaConf.set_readonly(merged[name], False)  # a frozen section may be set from outside, like any other
    source = "override"
    try:
        if path is not None:
            layer, source = _read(Path(path))
            _check_keys(schema, OmegaConf.to_container(layer), source)
            merged = OmegaConf.merge(merged, layer)
        if overrides:
            source = "override"
            layer = OmegaConf.from_dotlist(list(overrides))
            _check_keys(schema, OmegaConf.to_container(layer), source)
            merged = OmegaConf.merge(merged, layer)
        container = OmegaConf.to_container(merged, resolve=True, enum_to_str=False)
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config: {source} is not valid YAML ({str(error).splitlines()[0]}).") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"config: {source}: {error.full_key or 'value'}: {reason}.") from error
    built: T = _build(schema, typing.cast("dict[str, Any]", container), missing, prefix="")
    return built


def choose(schemas: Sequence[type[Any]], path: Path | None = None, method: str | None = None) -> type[Any]:
    """The schema of a command that has one for each of several methods: that whose ``method`` has a value of this name.

    Args:
        schemas: dataclass types whose field ``method`` is an enumeration; the first is for those who name no method.
        path: YAML file that may name one, or the bare name of a shipped recipe.
        method: name given otherwise, which wins.

    Raises:
        InputError: no such file, not YAML, or no such method.
    """
    if len(schemas) == 1:
        return schemas[0]
    method = method or (None if path is None else _method_in(path))
    if method is None:
        return schemas[0]
    methods = {str(value.value): schema for schema in schemas for value in typing.get_type_hints(schema)["method"]}
    if method not in methods:
        raise InputError(f"method: expected one of {', '.join(methods)}, got '{method}'{near_name(method, methods)}.")
    return methods[method]


def _method_in(path: Path) -> str | None:
    from omegaconf import DictConfig

    layer, _ = _read(path)
    method = layer.get("method") if isinstance(layer, DictConfig) else None
    return None if method is None else str(method)


def _read(path: Path) -> tuple[Any, str]:
    """The content of a YAML file or recipe, and what to call it.

    Raises:
        InputError: no such file, or not YAML.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    path = path if path.suffix or path.is_file() else recipe(str(path))
    require_file("config", path)
    source = f"'{path}'"
    try:
        return OmegaConf.load(path), source
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config: {source} is not valid YAML ({str(error).splitlines()[0]}).") from error


def recipe(name: str) -> Path:
    """The shipped recipe of that name (the YAML files in configs/).

    Raises:
        InputError: there is none; the message lists those there are.
    """
    here = Path(__file__).parent
    folder = next(f for f in (here / "configs", here.parent / "configs") if f.is_dir())
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = sorted(f.stem for f in folder.glob("*.yaml"))
        raise InputError(f"config: no file and no recipe '{name}'{near_name(name, known)}; recipes: {', '.join(known)}.")
    return path


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as nested dicts of strings, numbers, booleans, lists and None."""
    plain: dict[str, Any] = _plain(config)
    return plain


def save(config: Any, path: Path) -> None:
    """Write the fully resolved configuration as YAML, complete or not at all."""
    from omegaconf import OmegaConf

    partial = path.with_name(path.name + ".partial")
    partial.write_text(OmegaConf.to_yaml(OmegaConf.create(to_plain(config))))
    os.replace(partial, path)


def differences(config: Any, other: dict[str, Any]) -> list[str]:
    """Dotted names of the values of ``config`` that differ from a plain configuration saved before."""
    before = _flatten(other)
    return [key for key, value in _flatten(to_plain(config)).items() if before.get(key, value) != value]


def _check_keys(schema: type[Any], data: Any, source: str, prefix: str = "") -> None:
    if not isinstance(data, dict):
        raise InputError(f"config: {source}: expected keys and values for {prefix or 'the file'}, got {data!r}.")
    hints = typing.get_type_hints(schema)
    for key, value in data.items():
        if key not in hints:
            raise InputError(f"config: {source}: unknown key '{prefix}{key}'{_suggest(prefix, str(key), hints)}.")
        if dataclasses.is_dataclass(hints[key]):
            _check_keys(typing.cast("type[Any]", hints[key]), value, source, f"{prefix}{key}.")


def _suggest(prefix: str, key: str, hints: dict[str, Any]) -> str:
    near = near_name(key, hints)
    return near.replace("perhaps '", f"perhaps '{prefix}") if near else f"; known are {', '.join(hints)}"


def _build(schema: type[Any], data: dict[str, Any], missing: Any, prefix: str) -> Any:
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        hint, value = hints[field.name], data[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = _build(typing.cast("type[Any]", hint), value, missing, f"{prefix}{field.name}.")
        elif isinstance(value, str) and value == "???":
            if missing is None:
                raise InputError(f"{prefix}{field.name}: a value is required; give --{prefix}{field.name} or set it in a file.")
            values[field.name] = missing
        else:
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return schema(**values)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
