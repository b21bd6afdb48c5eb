"""An ingested collection seen from outside: searched as a question searches it, and listed.

What the evaluation calls through the entry-point group `rankgate.collections`; it never imports
the application.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag_app.ask.first_stage import HybridFirstStage
from rag_app.ask.pipeline import EmptyIndexError
from rag_app.index.data_folder import DataFolder
from rag_app.index.store import Store
from rag_app.settings import Settings
from rankgate.profile import Profile
from rankgate.retrieve import Fusion
from rankgate.types import Candidate

_PART = 500


class OpenCollection:
    """One opened collection; a context manager.

    Args:
        fusion: of its two lists; None: the default one.

    Attributes:
        profile: what a policy has to be fitted for to fit it.

    Raises:
        EmptyIndexError: nothing is ingested in it.
        ConfigError: it cannot be opened.
    """

    def __init__(self, settings: Settings, *, fusion: Fusion | None = None) -> None:
        # Opening would make the folder and the collection; looking at one leaves no trace.
        if not (Path(settings.data_dir) / "manifest.sqlite").is_file():
            raise EmptyIndexError(
                f"there is no index in {settings.data_dir}: --data-dir names the folder. "
                "`rankgate ingest FOLDER` makes one"
            )
        name = settings.collection
        self._folder = DataFolder(Path(settings.data_dir))
        try:
            manifest = self._folder.manifest
            if not manifest.count(name):
                have = [c.name for c in manifest.collections() if manifest.count(c.name)]
                raise EmptyIndexError(
                    f"nothing is ingested in collection {name!r} of {settings.data_dir}; it has: "
                    f"{', '.join(have) or 'none'}"
                )
            self._store = Store.open(settings, folder=self._folder)
        except BaseException:
            self._folder.close()
            raise
        self._first_stage = HybridFirstStage(self._store, fusion)
        self.words = f"collection {name} of {settings.data_dir}"
        self.profile: Profile = self._store.profile()

    def __enter__(self) -> OpenCollection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; twice does nothing."""
        self._store.close()
        self._folder.close()

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """What a question finds, before any rewording and reranking; both scores on each."""
        return self._first_stage.candidates(query, k)

    def passages(self) -> Iterator[Candidate]:
        """Every passage with its metadata, by document and position; `rank` counts them."""
        ids = [i for i, _ in self._store.manifest.texts(self._store.collection)]
        for first in range(0, len(ids), _PART):
            part = ids[first : first + _PART]
            rows = zip(part, self._store.fetch(part), strict=True)
            for rank, (i, (text, metadata)) in enumerate(rows, start=first + 1):
                yield Candidate(id=i, text=text, rank=rank, metadata=metadata)


def open_collection(
    name: str | None = None, *, data_dir: Path | None = None, fusion: Fusion | None = None
) -> OpenCollection:
    """Open a collection as every command of the application does.

    Args:
        name: None: the settings' one.
        data_dir: None: the settings' one, usually ./.rankgate.
        fusion: of its two lists; None: the default one.

    Raises:
        EmptyIndexError: nothing is ingested in it.
        ConfigError: a setting is wrong, or it cannot be opened.
    """
    overrides = {"collection": name, "data_dir": data_dir}
    return OpenCollection(Settings.load(overrides=overrides), fusion=fusion)
