"""Identity: what a scorer is called that does not name itself; caches and policies go by it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any
from uuid import uuid4

from rankgate.scorers.protocol import ScorerInfo

__all__ = ["identity", "is_scorer", "model_name", "module_of", "qualified"]

_NAMES = ("model_name", "model_name_or_path", "model_id", "endpoint_name", "name_or_path", "model")
_PLAIN = bool | int | float | complex | str | bytes | Path | None


def identity(thing: Any) -> str:
    """Its module and qualified name, the same in every process.

    A lambda or local function and a `functools.partial` share these with others: a hash of their
    code and of what they capture follows. Where that holds something of which nothing says which
    it is, `unnamed` and a random number follow, so that no policy and no cache is taken for its
    own.
    """
    inner: Any = thing
    bound = False
    while isinstance(inner, functools.partial):
        bound = bound or bool(inner.args or inner.keywords)
        inner = inner.func
    if not bound and not _is_local(inner):
        return qualified(inner)
    try:
        mark = sha256(_spelt(thing, ()).encode()).hexdigest()[:8]
    except LookupError:
        mark = f"unnamed-{uuid4().hex[:8]}"
    return f"{qualified(inner)}#{mark}"


def is_scorer(thing: Any) -> bool:
    """Whether it is a `Scorer`, which names itself."""
    return not inspect.isclass(thing) and (
        isinstance(getattr(thing, "info", None), ScorerInfo)
        and callable(getattr(thing, "score", None))
    )


def model_name(thing: Any) -> str | None:
    """The name of its model, as the thing or what it holds says it; of a folder, its name."""
    for attribute in _NAMES:
        value = getattr(thing, attribute, None)
        if value is not None and not isinstance(value, str | Path):
            value = getattr(value, "name_or_path", None)  # a transformers model
        if isinstance(value, str | Path) and str(value):
            return Path(value).resolve().name if Path(value).is_dir() else str(value)
    return None


def module_of(thing: Any) -> str:
    """The module where it, or its class, is defined."""
    own = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    return str(getattr(own, "__module__", "") or "")


def qualified(thing: Any) -> str:
    """Module and qualified name, of it or of its class."""
    own = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    return f"{module_of(thing)}:{own.__qualname__}"


def _is_local(thing: Any) -> bool:
    return inspect.isfunction(thing) and "<l" in thing.__qualname__  # <lambda>, <locals>


def _spelt(value: Any, within: tuple[Any, ...]) -> str:
    """What tells a captured value from another, the same in every process.

    Raises:
        LookupError: nothing does.
    """

    def each(values: Any) -> list[str]:
        return [_spelt(one, (*within, value)) for one in values]

    if isinstance(value, _PLAIN):
        return repr(value)
    if any(value is one for one in within):
        return "itself"
    if isinstance(value, list | tuple):
        return f"[{','.join(each(value))}]"
    if isinstance(value, dict | set | frozenset):
        return f"{{{','.join(sorted(each(value.items() if isinstance(value, dict) else value)))}}}"
    if isinstance(value, functools.partial):
        return f"partial{each((value.func, value.args, value.keywords))}"
    if inspect.ismodule(value):
        return value.__name__
    if _is_local(value):
        codes = list(_codes(value.__code__))
        names = sorted({name for code in codes for name in code.co_names})
        known = [(name, value.__globals__[name]) for name in names if name in value.__globals__]
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        consts = [c for code in codes for c in code.co_consts if not isinstance(c, CodeType)]
        plain = [(code.co_code, code.co_names) for code in codes]
        return f"f{each((plain, consts, value.__defaults__, value.__kwdefaults__, known, cells))}"
    if inspect.isroutine(value) or inspect.isclass(value):
        return qualified(value)
    known_as = value.info.id if is_scorer(value) else model_name(value)
    if known_as is None:
        raise LookupError(qualified(value))
    return f"{qualified(value)}/{known_as}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)
