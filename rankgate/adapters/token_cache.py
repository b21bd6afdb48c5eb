"""Where components keep the token vectors of what they have read, and whether they do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rankgate.errors import ConfigError, InputError

__all__ = ["TOKEN_CACHE_VARIABLE", "TokenCacheLike", "token_cache_folder"]

TOKEN_CACHE_VARIABLE = "RANKGATE_TOKEN_CACHE"
TokenCacheLike = str | Path | bool | None
"""A folder; True: the user's own, as the environment says; False or None: nothing is kept."""


def token_cache_folder(given: TokenCacheLike) -> Path | None:
    """The folder; None: nothing is kept.

    With True it is the one that the variable RANKGATE_TOKEN_CACHE names (`off`: none), else
    `rankgate` in the user's cache folder, as the platform has it.

    Raises:
        InputError: neither a folder nor a switch.
        ConfigError: there is no folder for caches: the user has no home.
    """
    if given is None or given is False:
        return None
    if isinstance(given, str | Path) and str(given):
        return Path(given).expanduser().absolute()
    if given is not True:
        raise InputError(f"token_cache must be a folder, True or False, got {given!r}")
    named = os.environ.get(TOKEN_CACHE_VARIABLE, "")
    if named:
        return None if named.lower() == "off" else Path(named).expanduser().absolute()
    try:
        return _caches() / "rankgate"
    except RuntimeError as exc:
        raise ConfigError(
            "no folder for the token cache was found, because there is no home folder: name one "
            f"with token_cache= or {TOKEN_CACHE_VARIABLE}, or set it to off"
        ) from exc


def _caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
