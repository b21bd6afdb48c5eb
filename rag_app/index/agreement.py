"""Whether the settings fit what a collection was filled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rag_app.errors import StoreMismatchError
from rag_app.index.embeddings import Identity
from rag_app.index.manifest import Manifest
from rag_app.index.records import CollectionRecord
from rankgate.errors import ConfigError

if TYPE_CHECKING:
    from rag_app.settings import Settings


def chunking_of(settings: Settings) -> str:
    """`200/40`: tokens a chunk, and of overlap."""
    return f"{settings.chunk_tokens}/{settings.chunk_overlap}"


def agreed_record(
    manifest: Manifest,
    settings: Settings,
    identity: Identity,
    *,
    dimension: Callable[[], int],
    rebuild: bool,
) -> CollectionRecord:
    """The collection's record, if the settings fit it; a new one where it is empty.

    Args:
        settings: `collection`, `space`, `data_dir` and the chunk sizes are read.
        dimension: of its vectors; asked only where the collection is new.
        rebuild: empty the collection, whatever it was filled with.

    Raises:
        StoreMismatchError: filled with another embedder or space.
        ConfigError: the name differs from another collection's only in capitals.
    """
    name = settings.collection
    for other in manifest.collections():
        if other.name != name and other.name.lower() == name.lower():
            raise ConfigError(
                f"there is a collection {other.name!r}; a second one that differs only in "
                f"capitals ({name!r}) would share its files on some systems"
            )
    known = manifest.collection(name)
    if known is not None and not rebuild and manifest.count(name):
        _check(known, settings, identity)
        return known
    if known is not None and not rebuild and _fits(known, settings, identity):
        return known
    record = CollectionRecord(
        name=name,
        embedder=identity.name,
        sha256=identity.sha256,
        dimension=dimension(),
        space=settings.space,
        chunking=chunking_of(settings),
        # Whatever the emptied collection left behind is looked for.
        dirty=known is not None,
    )
    if known is not None:
        manifest.empty_collection(name)
    manifest.put_collection(record)
    return record


def _fits(known: CollectionRecord, settings: Settings, identity: Identity) -> bool:
    return (known.sha256, known.space, known.chunking) == (
        identity.sha256,
        settings.space,
        chunking_of(settings),
    )


def _check(known: CollectionRecord, settings: Settings, identity: Identity) -> None:
    differences = []
    if known.sha256 != identity.sha256:
        differences.append(f"embedder {known.embedder!r}, not {identity.name!r}")
    if known.space != settings.space:
        differences.append(f"space {known.space!r}, not {settings.space!r}")
    if differences:
        raise StoreMismatchError(
            f"collection {known.name!r} in {settings.data_dir} was filled with "
            f"{' and '.join(differences)}. Set it back, or run `rankgate ingest --rebuild` "
            "with all of your paths."
        )


def check_chunking(known: CollectionRecord, settings: Settings) -> None:
    """Refuse to mix chunks of two sizes in one collection.

    Raises:
        StoreMismatchError: it was filled with other sizes than the settings'.
    """
    if known.chunking != chunking_of(settings):
        raise StoreMismatchError(
            f"collection {known.name!r} was cut with chunk_tokens/chunk_overlap "
            f"{known.chunking}, not {chunking_of(settings)}. Set them back, or run "
            "`rankgate ingest --rebuild` with all of your paths."
        )
