"""Options that several commands share, and how they become settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate.errors import MissingExtraError

if TYPE_CHECKING:
    from rag_app.settings import Settings


class Force(StrEnum):
    """Overruling the gate."""

    RERANK = "rerank"
    SKIP = "skip"


class GeneratorName(StrEnum):
    """Who writes the answer."""

    EXTRACTIVE = "extractive"
    OPENAI = "openai"


JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON alone on stdout; messages go to stderr.")
]
ForceOption = Annotated[
    Force | None, typer.Option("--force", help="Rerank or skip, whatever the gate says.")
]
TopNOption = Annotated[
    int | None, typer.Option("--top-n", min=1, help="Passages to keep; usually the policy's.")
]
GeneratorOption = Annotated[
    GeneratorName | None,
    typer.Option("--generator", help="Who writes the answer; usually the settings'."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Options of `grouped` commands: whose settings, and which data folder."""

    config: Annotated[Path | None, typer.Option(help="Settings file; usually ./rankgate.toml.")] = (
        None
    )
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index; usually ./.rankgate.")
    ] = None

    def settings(self, **overrides: Any) -> Settings:
        """Settings of file and environment, overruled by the options that were given (not None).

        Raises:
            ConfigError: a setting is wrong.
            MissingExtraError: the application's dependencies are not installed.
        """
        try:
            from rag_app.settings import Settings
        except ImportError as exc:
            raise MissingExtraError("this command", "app") from exc
        given = {name: value for name, value in asdict(self).items() if name != "config"}
        return Settings.load(config=self.config, overrides={**given, **overrides})


@dataclass(frozen=True, slots=True, kw_only=True)
class Where(Folder):
    """As `Folder`, with the collection in it."""

    collection: Annotated[str | None, typer.Option(help="Which index in that folder.")] = None
