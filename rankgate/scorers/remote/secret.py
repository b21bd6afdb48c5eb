"""A secret: a value that is used, and never shown."""

from __future__ import annotations

from typing import Any

from rankgate.errors import ConfigError

__all__ = ["Secret"]


class Secret:
    """A key that no repr, log or error message shows.

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
