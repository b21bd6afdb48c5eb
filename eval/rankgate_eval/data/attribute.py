"""`module:attribute`: the user's own object, named on the command line."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from rankgate.errors import InputError


def is_attribute_name(name: str) -> bool:
    """Whether it has the form `package.module:attribute`."""
    module, colon, attribute = name.partition(":")
    dotted = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in dotted)


def load_object(name: str, *, what: str) -> Any:
    """The object that `module:attribute` names, the working directory first on the path.

    A class, or a function that needs no argument, is called, and what it returns is the object.

    Args:
        name: such as `search:retriever`.
        what: in words, for messages: `--system`.

    Raises:
        InputError: not of that form, not importable, or no such attribute.
    """
    if not is_attribute_name(name):
        raise InputError(f"{what} is module:attribute, such as search:retriever; got {name!r}")
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and module_name.split(".")[0] != exc.name.split(".")[0]:
            raise  # the module is there, and lacks something of its own: its traceback tells
        raise InputError(
            f"{what} {name!r}: there is no module {module_name!r} in {here} or installed"
        ) from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{what} {name!r}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found() if _is_factory(found) else found


def _is_factory(found: Any) -> bool:
    if inspect.isclass(found):
        return True
    if not inspect.isroutine(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a built-in that does not say what it takes
        return False
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    # A function of query and k may have defaults, and is a system, not a factory.
    takes = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return not needed and not takes
