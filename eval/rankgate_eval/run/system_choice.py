"""Which first stage is under test: `--system`, or an index over the data set itself."""

from __future__ import annotations

from pathlib import Path

from rankgate.encoders import TokenStore
from rankgate.errors import InputError
from rankgate.profile import Profile
from rankgate.retrieve import Encoder, Fusion, Progress
from rankgate.types import FirstStageKind
from rankgate_eval.data.attribute import load_object
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.encoding import build_index
from rankgate_eval.run.system import (
    FirstStage,
    IndexStage,
    as_first_stage,
)


def choose_system(name: str, data: Dataset, *, id_key: str | None = None) -> FirstStage:
    """The user's own first stage, named as `module:attribute`.

    Args:
        name: the object, a class, or a function without parameters that makes it.
        data: the data set, for systems that return ids.
        id_key: the metadata key that holds the passage's id.

    Raises:
        InputError: it cannot be loaded, or is no first stage.
        MissingExtraError: it is a vector store, and langchain-rankgate is not installed.
    """
    return as_first_stage(load_object(name, what="--system"), data=data, id_key=id_key)


def index_stage(
    data: Dataset,
    *,
    kind: FirstStageKind | str = FirstStageKind.HYBRID,
    fusion: Fusion | None = None,
    encoder: Encoder | None = None,
    store: TokenStore | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> IndexStage:
    """An index over the data set as a first stage; arguments as in `build_index`.

    Raises:
        InputError: `kind` is none that an index searches.
        ModelNotFoundError: the default encoder is not installed.
        ConfigError: the cache cannot be opened.
    """
    wanted = index_kind(kind)
    index = build_index(
        data, kind=wanted, encoder=encoder, store=store, cache=cache, progress=progress
    )
    return IndexStage(index=index, kind=wanted, fusion=fusion)


def index_kind(kind: FirstStageKind | str) -> FirstStageKind:
    """The kind, if an index can be of it.

    Raises:
        InputError: it cannot.
    """
    known = (FirstStageKind.HYBRID, FirstStageKind.DENSE, FirstStageKind.BM25)
    if kind not in known:
        raise InputError(f"--first-stage is one of {', '.join(known)}; got {str(kind)!r}")
    return FirstStageKind(kind)


def profile_of(stage: FirstStage) -> Profile:
    """What is known of the first stage's embedder, space and analyser, as far as it says."""
    found = getattr(stage, "profile", None)
    return found if isinstance(found, Profile) else Profile()
