"""A secret: a value that is used, and never shown."""

from __future__ import annotations

import os
from typing import Any

from rankgate.errors import ConfigError

__all__ = ["Secret"]


class Secret:
    """A key that no repr, log, error message or pickle shows.

    A pickle names the environment variable that holds the key, and each process reads its own.

    Raises:
        ConfigError: it holds characters that no HTTP header can carry. (The HTTP library would
            quote the key in its own error.)
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or not all("!" <= c <= "~" for c in value):
            raise ConfigError(
                "api_key must be visible ASCII characters without spaces or line ends. "
                "Was it read from a file with its newline?"
            )
        self._value = value

    @classmethod
    def of(cls, key: Any) -> Secret | None:
        """From a string, a `Secret`, or anything with `get_secret_value()`; None stays None.

        Raises:
            ConfigError: none of these, or not usable as a key.
        """
        if key is None or isinstance(key, Secret):
            return key
        reveal = getattr(key, "get_secret_value", None)
        value = key if reveal is None else reveal()
        if not isinstance(value, str):
            raise ConfigError(f"api_key must be a string, got {type(value).__name__}")
        return cls(value)

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def scrubbed(self, text: str) -> str:
        """The text with the key taken out."""
        return text.replace(self._value, "***")

    def __repr__(self) -> str:
        return "Secret('***')"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        holders = sorted(name for name, value in os.environ.items() if value == self._value)
        if not holders:
            raise ConfigError(
                "an API key does not go into a pickle. Put it into an environment variable, such "
                "as RANKGATE_API_KEY, here and where the copy is read, and give the scorer that "
                "variable's value: then the pickle names the variable."
            )
        return _from_environment, (holders[0],)


def _from_environment(variable: str) -> Secret:
    value = os.environ.get(variable)
    if value is None:
        raise ConfigError(
            f"this scorer's API key was in the environment variable {variable} where it was "
            "pickled. Set it here too."
        )
    return Secret(value)
