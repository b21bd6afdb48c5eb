"""Dataclasses to plain data and back, by their type hints: what result files are made with."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from rankgate.errors import InputError

__all__ = ["from_plain", "to_plain"]

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Mappings, lists, strings, finite numbers, booleans and None: what JSON can hold.

    Raises:
        InputError: a number is not finite, or a value is of another kind.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"a result holds finite numbers only, got {value}")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    raise InputError(f"a result cannot hold a {type(value).__name__}")


def from_plain(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a dataclass of what `to_plain` made of it; unknown keys are left out.

    Raises:
        InputError: a field without a default is missing.
    """
    hints = _hints(cast(Any, kind))
    given: dict[str, Any] = {}
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]
        if f.name in data:
            given[f.name] = _value(hints[f.name], data[f.name])
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{kind.__name__} needs {f.name!r}; it has: {', '.join(data)}")
    return kind(**given)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(hint: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _value(inner, data)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, data)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_value(arguments[0], item) for item in data)
        return tuple(_value(a, item) for a, item in zip(arguments, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(arguments[1], item) for key, item in data.items()}
    if hint is float and isinstance(data, int):
        return float(data)
    return data
