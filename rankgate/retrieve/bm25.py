"""A BM25 index over passages, built once, kept on disk, memory-mapped when loaded (bm25s)."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError, InputError
from rankgate.retrieve.scripts import IN_WORDS, PAIRED, in_pairs, spelt_alike

if TYPE_CHECKING:
    import bm25s

__all__ = ["Analyser", "BM25Index"]

_FORMAT = 2  # of the files, and of the terms in them
_META = "rankgate.json"
_TERM = re.compile(rf"[{PAIRED}]{{1,2}}|(?:(?![{PAIRED}])[{IN_WORDS}]){{2,}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyser:
    """How text becomes terms, in any language; index and query must use the same one.

    Terms are lower-cased words of at least two letters or digits, in Unicode's form NFKC, without
    English stop words. Scripts written without blanks become pairs of neighbouring characters
    (as Lucene's CJKBigramFilter does), Arabic words lose article and vowel signs.

    Attributes:
        stop_words: `english` or `none`.
    """

    stop_words: str = "english"

    def __post_init__(self) -> None:
        if self.stop_words not in ("english", "none"):
            raise ConfigError(f"stop_words must be english or none, got {self.stop_words!r}")

    @property
    def name(self) -> str:
        """For a policy's profile."""
        return f"bm25s/{self.stop_words}/{_FORMAT}"

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """The terms of each text, in order, with repetitions."""
        from bm25s.stopwords import STOPWORDS_EN  # brings scipy: not for those who only rerank

        left_out = frozenset(STOPWORDS_EN if self.stop_words == "english" else ())
        return [[t for t in _TERM.findall(_plain(text)) if t not in left_out] for text in texts]


def _plain(text: str) -> str:
    if not text.isascii():
        text = spelt_alike(in_pairs(unicodedata.normalize("NFKC", text)))
    return text.lower()


class BM25Index:
    """BM25 (Lucene's variant, k1 1.5, b 0.75) over identified passages.

    Source: Lù, BM25S, arXiv 2407.03618. Scores are >= 0 and unbounded; they grow with the
    number of matching query terms, so they are only comparable within one query.
    """

    def __init__(
        self, engine: bm25s.BM25 | None, ids: Sequence[str], *, analyser: Analyser
    ) -> None:
        self._engine = engine
        self.ids = tuple(ids)
        self.analyser = analyser
        self._position = {identifier: i for i, identifier in enumerate(self.ids)}
        self._lexicon: frozenset[str] | None = None

    @classmethod
    def build(
        cls, passages: Iterable[tuple[str, str]], *, analyser: Analyser | None = None
    ) -> BM25Index:
        """Index (id, text) pairs.

        Raises:
            InputError: an id stands twice.
        """
        pairs = list(passages)
        ids = [identifier for identifier, _ in pairs]
        if len(set(ids)) != len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise InputError(f"passage id {twice!r} stands twice; ids must be unique")
        how = Analyser() if analyser is None else analyser
        terms = how.terms([text for _, text in pairs])
        # bm25s cannot index a corpus without a single term.
        if not any(terms):
            return cls(None, ids, analyser=how)
        import bm25s

        engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        engine.index(terms, show_progress=False)
        return cls(engine, ids, analyser=how)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lexicon(self) -> frozenset[str]:
        """Every word that the indexed passages contain, stop words included."""
        if self._lexicon is None:
            from bm25s.stopwords import STOPWORDS_EN

            known = set() if self._engine is None else set(self._engine.vocab_dict)
            known.discard("")
            self._lexicon = frozenset(known | set(STOPWORDS_EN))
        return self._lexicon

    @property
    def frequencies(self) -> dict[str, int]:
        """How many passages have each word; without stop words, which are not indexed."""
        if self._engine is None:
            return {}
        # A sparse matrix by term: as many entries a term as passages have it.
        starts = np.asarray(self._engine.scores["indptr"])
        counts = np.diff(starts)
        return {
            word: int(counts[number])
            for word, number in self._engine.vocab_dict.items()
            if word and number < counts.size
        }

    def all_scores(self, query: str) -> npt.NDArray[np.float32]:
        """(n,) scores of every passage, in index order; all 0 where no term matches."""
        none = np.zeros(len(self.ids), dtype=np.float32)
        if self._engine is None or not query.strip():
            return none
        terms = self._engine.get_tokens_ids(self.analyser.terms([query])[0])
        if not terms:
            return none
        scores: npt.NDArray[np.float32] = self._engine.get_scores_from_ids(terms)
        return scores.astype(np.float32, copy=False)

    def search(self, query: str, k: int) -> dict[str, float]:
        """The k best passages with a score above 0: id to score, best first, ties by index."""
        scores = self.all_scores(query)
        k = min(k, scores.size)
        if k <= 0:
            return {}
        order = np.argsort(-scores, kind="stable")[:k]
        return {self.ids[i]: float(scores[i]) for i in order if scores[i] > 0}

    def __contains__(self, identifier: object) -> bool:
        """Whether a passage with this id is indexed."""
        return identifier in self._position

    def scores(self, query: str, ids: Sequence[str]) -> list[float]:
        """Scores of the named passages, in that order.

        Raises:
            InputError: an id is not in the index.
        """
        every = self.all_scores(query)
        try:
            return [float(every[self._position[identifier]]) for identifier in ids]
        except KeyError as exc:
            raise InputError(f"passage {exc.args[0]!r} is not in the BM25 index") from exc

    def save(self, folder: str | Path, *, extra: Mapping[str, Any] | None = None) -> None:
        """Write the index; the folder is replaced only once the new one is complete.

        Args:
            folder: where; its parent must exist.
            extra: plain data kept with it, such as what it was built from.
        """
        target = Path(folder)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            if self._engine is not None:
                self._engine.save(str(staging), show_progress=False)
            meta = {
                "format": _FORMAT,
                "empty": self._engine is None,
                "analyser": asdict(self.analyser),
                "ids": self.ids,
                "extra": dict(extra or {}),
            }
            (staging / _META).write_text(json.dumps(meta), "utf-8")
            retired = None
            if target.exists():
                retired = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
                target.rename(retired / "index")
            staging.rename(target)
            if retired is not None:
                shutil.rmtree(retired, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path) -> BM25Index:
        """Open a saved index, its arrays memory-mapped.

        Raises:
            ConfigError: absent, damaged, or of another format; it can be rebuilt.
        """
        import bm25s

        source = Path(folder)
        try:
            meta = cls.read_meta(source)
            analyser = Analyser(**meta["analyser"])
            engine = None
            if not meta["empty"]:
                engine = bm25s.BM25.load(str(source), mmap=True, show_progress=False)
            return cls(engine, meta["ids"], analyser=analyser)
        except ConfigError:
            raise
        except Exception as exc:  # whatever a damaged file makes bm25s or numpy raise
            raise ConfigError(
                f"the BM25 index in {source} cannot be read ({exc}); build it again"
            ) from exc

    @staticmethod
    def read_meta(folder: str | Path) -> dict[str, Any]:
        """What `save` noted beside the arrays.

        Raises:
            ConfigError: absent, damaged, or of another format.
        """
        file = Path(folder) / _META
        try:
            meta: dict[str, Any] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise ConfigError(f"no readable BM25 index in {folder}: {exc}") from exc
        if meta.get("format") != _FORMAT:
            raise ConfigError(
                f"the BM25 index in {folder} has format {meta.get('format')!r}, this rankgate "
                f"reads {_FORMAT}; build it again"
            )
        return meta
