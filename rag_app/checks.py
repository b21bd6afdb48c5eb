"""What `rankgate doctor` looks at: a list of checks, each with its finding."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rag_app.generate.openai import OPENAI_URL
from rankgate import Policy, Reranker
from rankgate.decide.sufficiency import OFF, ReaderName
from rankgate.describe import SectionDescription, describe_section
from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.locate import MINILM_SHA256, find_minilm
from rankgate.encoders.query_encoder import QueryEncoder
from rankgate.errors import RankgateError
from rankgate.scorers.build import ScorerName
from rankgate.scorers.wrappers.traits import close
from rankgate.types import FirstStageKind

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings

_PACKAGES = (
    "numpy",
    "bm25s",
    "onnxruntime",
    "tokenizers",
    "chromadb",
    "openai",
)

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        verdict: `ok`; `note`, worth knowing; `problem`, has to be mended.
        detail: what was found, and how to mend it.
    """

    name: str
    verdict: Verdict
    detail: str


def diagnose(settings: Settings) -> list[Check]:
    """Look at everything that answering needs; nothing is changed, fetched or created."""
    looks: tuple[tuple[str, Callable[[Settings], Iterator[Check]]], ...] = (
        ("versions", _versions),
        ("encoder", _encoder),
        ("scorer", _scorer),
        ("generator", _generator),
        ("policy", _policy),
        ("reader", _reader),
        ("index", _index),
    )
    found: list[Check] = []
    for name, look in looks:
        try:
            found.extend(look(settings))
        except RankgateError as exc:
            found.append(Check(name=name, verdict="problem", detail=str(exc)))
    return found


def mend(settings: Settings) -> Iterator[Check]:
    """Bring a damaged manifest back; the indexes follow when the store is opened.

    Raises:
        StoreLockedError: the data folder is in use.
    """
    from rag_app.index.lock import DataLock
    from rag_app.index.manifest_copy import repair_manifest

    if not settings.data_dir.is_dir():
        return
    lock = DataLock(settings.data_dir, wait_s=2.0)
    try:
        done = repair_manifest(settings.data_dir)
    finally:
        lock.release()
    detail = "nothing to repair: the manifest is sound" if done is None else done
    yield Check(name="repair", verdict="ok" if done is None else "note", detail=detail)


def _versions(settings: Settings) -> Iterator[Check]:
    there, missing = [f"Python {platform.python_version()}"], []
    for package in _PACKAGES:
        try:
            there.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    yield Check(name="versions", verdict="ok", detail=", ".join(there))
    if missing:
        detail = f"not installed: {', '.join(missing)}. Run: pip install 'rankgate[app]'"
        yield Check(name="versions", verdict="problem", detail=detail)
    file = "none" if settings.file is None else str(settings.file)
    yield Check(name="settings", verdict="ok", detail=f"file: {file}")


def _encoder(settings: Settings) -> Iterator[Check]:
    files = find_minilm(settings.embedder_path)
    published = files.sha256 == MINILM_SHA256
    kind = "the published weights" if published else "other weights than the published ones"
    yield Check(
        name="encoder",
        verdict="ok" if published else "note",
        detail=f"{files.name} in {files.folder} (from {files.found_in}; sha256 "
        f"{files.sha256[:12]}..., {kind})",
    )


def _scorer(settings: Settings) -> Iterator[Check]:
    parts = ScorerName.parse(settings.scorer)
    if parts.reads_tokens:
        detail = "late-interaction over the encoder"
        if parts.name:
            layers = QueryEncoder.load(parts.name, TokenEncoder.load(settings.embedder_path))
            detail += f", questions by {parts.name} (sha256 {layers.sha256[:12]}...)"
        yield Check(name="scorer", verdict="ok", detail=f"{detail}; nothing is downloaded")
    elif parts.remote:
        detail = f"questions and passages are sent to {parts.url} ({settings.scorer})"
        yield Check(name="scorer", verdict="note", detail=detail)
    elif Path(parts.name).is_dir():
        yield Check(name="scorer", verdict="ok", detail=f"{parts.kind} in {parts.name}")
    elif parts.kind == "onnx":
        detail = f"there is no folder {parts.name}; set scorer to onnx:FOLDER with a model in it"
        yield Check(name="scorer", verdict="problem", detail=detail)
    elif _cached(parts.name):
        detail = f"cross-encoder {parts.name}, already in the Hugging Face cache"
        yield Check(name="scorer", verdict="ok", detail=detail)
    else:
        detail = (
            f"cross-encoder {parts.name} would be downloaded from the Hugging Face hub at first use"
        )
        yield Check(name="scorer", verdict="note", detail=detail)


def _cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # no name that the hub could have
        return False


def _generator(settings: Settings) -> Iterator[Check]:
    if settings.generator == "extractive":
        detail = "extractive: nothing leaves the machine"
        yield Check(name="generator", verdict="ok", detail=detail)
        return
    base = OPENAI_URL if settings.openai_base_url is None else settings.openai_base_url
    if settings.openai_base_url is None and settings.openai_api_key is None:
        detail = f"{base} needs a key: set RANKGATE_OPENAI_API_KEY"
        yield Check(name="generator", verdict="problem", detail=detail)
        return
    key = "with" if settings.openai_api_key is not None else "without"
    detail = f"questions and passages are sent to {base} ({settings.openai_model}, {key} a key)"
    yield Check(name="generator", verdict="note", detail=detail)


def _policy(settings: Settings) -> Iterator[Check]:
    policy = Policy.default() if settings.policy is None else Policy.load(settings.policy)
    section = describe_section(policy, FirstStageKind.HYBRID)
    detail = f"{policy.name}: k {section.k}, top_n {section.top_n}; {section.fitted_for}"
    yield Check(name="policy", verdict="ok", detail=detail)
    yield from _active(section)


def _active(section: SectionDescription) -> Iterator[Check]:
    """What is on, or off and how to mend it."""
    for name in ("gate", "floor", "probabilities"):
        said: str = getattr(section, name)
        yield Check(name=name, verdict="note" if said.startswith("off") else "ok", detail=said)


def _reader(settings: Settings) -> Iterator[Check]:
    """Who reads question and passages; a model of the hub is looked for, and not loaded."""
    from rag_app.ask.scorer import reader_of

    policy = Policy.default() if settings.policy is None else Policy.load(settings.policy)
    part = policy.section(FirstStageKind.HYBRID).sufficiency
    asks = OFF if part is None else part.reader
    reader = reader_of(settings)
    if reader is None:
        said = "nobody: the policy asks for none"
        if asks != OFF:
            said = f"off, although policy {policy.name} was fitted with {asks}: it has its floor by"
            said += " what is known without reading"
        yield Check(name="reader", verdict="ok" if asks == OFF else "note", detail=said)
        return
    close(reader)
    name = ReaderName.parse(asks)
    detail = f"{asks}, where the policy is unsure whether the passages hold the answer"
    if name.kind == "llm":
        base = OPENAI_URL if settings.openai_base_url is None else settings.openai_base_url
        detail += f"; questions and passages are sent to {base}"
    elif name.kind != "reader" and not Path(name.name).is_dir() and not _cached(name.name):
        detail += "; it would be downloaded from the Hugging Face hub at first use"
    else:
        yield Check(name="reader", verdict="ok", detail=detail)
        return
    yield Check(name="reader", verdict="note", detail=detail)


def _index(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    if not folder.is_dir():
        detail = f"{folder} is not there yet. Run: rankgate ingest FOLDER"
        yield Check(name="index", verdict="note", detail=detail)
        return
    if not os.access(folder, os.W_OK):
        detail = f"{folder} cannot be written to; ingesting would fail"
        yield Check(name="index", verdict="problem", detail=detail)
    from rag_app.errors import StoreLockedError
    from rag_app.index.manifest_copy import MANIFEST, quick_check
    from rag_app.index.private import private_files
    from rag_app.index.store import Store
    from rag_app.served import Served

    for path in sorted(folder.rglob("*.sqlite")):
        if (found := quick_check(path)) != "ok":
            how = " `rankgate doctor --repair` mends it." if path.name == MANIFEST else ""
            detail = f"{path} is damaged: {found}.{how}"
            yield Check(name="files", verdict="problem", detail=detail)
    if (server := Served.find(folder)) is not None:
        detail = f"{server.url} has the folder open and answers"
        yield Check(name="server", verdict="ok", detail=detail)
        yield from (Check(**row) for row in server.call("doctor", collection=settings.collection))
        return
    try:
        with private_files(), Store.open(settings) as store:
            yield from contents(settings, store)
    except StoreLockedError as exc:
        detail = f"not looked into: {exc}"
        yield Check(name="index", verdict="note", detail=detail)


# Both are made again from the manifest.
_FOLDERS = {"vectors": "chroma", "bm25": "bm25"}


def contents(settings: Settings, store: Store) -> Iterator[Check]:
    """What an opened collection holds, and whether its parts fit each other."""
    chunks, terms = store.manifest.count(store.collection), len(store.bm25)
    others = [c.name for c in store.manifest.collections() if c.name != store.collection]
    detail = (
        f"{settings.data_dir}, collection {store.collection}: {len(store.documents())} documents, "
        f"{chunks} chunks; other collections: {', '.join(others) if others else 'none'}"
    )
    if chunks == 0:
        yield Check(name="index", verdict="note", detail=f"{detail}. Run: rankgate ingest FOLDER")
        return
    yield Check(name="index", verdict="ok", detail=detail)
    asked, text = max(store.manifest.texts(store.collection), key=lambda row: len(row[1]))
    vector = store.index.vectors([asked]).get(asked)
    answers = {
        "vectors": (store.index.count(), {} if vector is None else store.dense(vector, 1)),
        "bm25": (terms, store.bm25.search(text, 1)),
    }
    for name, (held, found) in answers.items():
        detail = f"{held} chunks, as in the manifest; asked for one of them it answers"
        if held != chunks:
            detail = f"{held} chunks, but the manifest has {chunks}"
        elif not found:
            detail = f"{held} chunks, but asked for one of them it finds nothing"
        sound = held == chunks and bool(found)
        how = "" if sound else f". Delete the folder {_FOLDERS[name]} in {settings.data_dir}; "
        how += "" if sound else "it is built anew"
        yield Check(name=name, verdict="ok" if sound else "problem", detail=detail + how)
    from rag_app.ask.scorer import scorer_for

    policy = None if settings.policy is None else Policy.load(settings.policy)
    reranker = Reranker(
        scorer_for(settings, store.token_store),
        policy=policy,
        first_stage=FirstStageKind.HYBRID,
        profile=store.profile(),
    )
    said = reranker.describe()
    if not said.notes:
        detail = f"policy {said.policy} fits this scorer and index"
        yield Check(name="profile", verdict="ok", detail=detail)
        return
    for note in said.notes:
        yield Check(name="profile", verdict="note", detail=note)
    for section in said.sections:
        yield from _active(section)
