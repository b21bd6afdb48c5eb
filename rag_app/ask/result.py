"""What comes out of the pipeline: status, answer, sources, and what happened on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rag_app.ask.interleaved import Interleaved
from rag_app.ask.searched import Searched
from rag_app.generate.answer import Answer
from rankgate.decide.floor import Band
from rankgate.outcome import Outcome
from rankgate.types import Passage

_TOPICS = 3
_VERBS = {
    "reranked": "Reranked",
    "skipped": "Reranking skipped",
    "degraded": "Reranking failed, first-stage order kept",
    "refused": "Refused",
}
_SHOWN_SIGNALS = (
    "dense_top1",
    "dense_margin_12",
    "bm25_top1",
    "bm25_margin_12",
    "top1_agrees",
    "overlap_10",
    "unknown_share",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """One question's way through the pipeline, for people in words and for programs as data.

    Attributes:
        searched: the question, and what was searched for.
        answer: text and sources; None where the generator was not asked, or failed.
        error: why the generator failed; "" where it did not.
        exit_code: of a generator that failed; 0 otherwise.
        timings_ms: milliseconds by step: retrieve, rerank, generate, total; `wording` where
            earlier turns were looked at.
        together: how two policies came to the outcome; None: there was one.
    """

    searched: Searched
    outcome: Outcome
    answer: Answer | None = None
    error: str = ""
    exit_code: int = 0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    together: Interleaved | None = None

    @property
    def question(self) -> str:
        """As it was asked."""
        return self.searched.question

    @property
    def status(self) -> str:
        """`answered`, `refused`, `generator_failed`; `searched` where no answer was asked for."""
        if self.answer is None:
            return "generator_failed" if self.exit_code else "searched"
        return "refused" if self.answer.refused else "answered"

    @property
    def refused(self) -> bool:
        """Whether the information is not there."""
        return self.status == "refused"

    @property
    def weak(self) -> bool:
        """Whether it is answered, but on weak evidence, as the policy calls it."""
        return self.status == "answered" and self.outcome.band is Band.WEAK

    @property
    def unsupported(self) -> list[dict[str, Any]]:
        """Sentences of the answer that were not found in its sources, as plain data."""
        return [] if self.answer is None else [asdict(u) for u in self.answer.unsupported]

    @property
    def passages(self) -> tuple[Passage, ...]:
        """What the reranker kept, also when the generator failed."""
        return self.outcome.kept

    @property
    def nearest_topics(self) -> tuple[str, ...]:
        """The distinct headings of the best candidates of a refused question, for another try."""
        found: dict[str, None] = {}
        for passage in self.outcome.passages if self.refused else ():
            metadata = passage.candidate.metadata
            topic = metadata.get("heading") or metadata.get("title") or metadata.get("name")
            if topic:
                found.setdefault(str(topic))
            if len(found) == _TOPICS:
                break
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        answer = self.answer
        return {
            "question": self.question,
            "status": self.status,
            "weak": self.weak,
            "answer": None if answer is None else answer.text,
            "mode": None if answer is None else answer.mode,
            "sources": [] if answer is None else [s.to_dict() for s in answer.sources],
            "unsupported": self.unsupported,
            "passages": [passage_row(p) for p in self.passages],
            "nearest_topics": list(self.nearest_topics),
            "error": self.error if self.error else None,
            "trace": self.trace(),
        }

    def told(self) -> dict[str, Any]:
        """All that a terminal shows: `to_dict`, every candidate, and what happened in words."""
        return {
            **self.to_dict(),
            "candidates": [passage_row(p) for p in self.outcome.passages],
            "lines": self.lines(),
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """What happened, in words, a line a fact."""
        out = self.outcome
        found = [f"{_VERBS[out.status.value]} ({out.reason}): {out.detail}".rstrip(": ")]
        if out.band is Band.WEAK:
            found.append("Weak evidence: the best passage is below what the policy calls an answer")
        if out.refused:
            found.append(f"Order was decided by: {out.path.value}")
        found.extend(f"Also searched for: {a.text} ({a.why})" for a in self.searched.others)
        found.extend(f"Note: {note}" for note in self.searched.notes)
        found.append(self._gate_line())
        moved = [p for p in out.kept if p.rank != p.candidate.rank]
        seen = f"{len(out.passages)} candidates, {len(out.kept)} kept"
        found.append(f"{seen}, {len(moved)} of them moved" if out.kept else seen)
        found.extend(_rank_line(p) for p in out.kept)
        if out.stats.pairs:
            found.append(
                f"Scorer {out.scorer.id}: {out.stats.pairs} passages read, "
                f"{out.stats.cached} from the store, {out.stats.truncated} truncated"
            )
        found.extend(f"Note: {note}" for note in out.notes)
        found.extend(self._answer_lines())
        found.append("Time: " + ", ".join(f"{k} {v:.0f} ms" for k, v in self.timings_ms.items()))
        return found

    def _gate_line(self) -> str:
        decision = self.outcome.decision
        values = self.outcome.signals.values()
        numbers = [f"{n} {values[n]:.3f}" for n in _SHOWN_SIGNALS if values[n] is not None]
        harm = "" if decision.harm is None else f", harm of skipping {decision.harm:.3f}"
        return f"Gate: {decision.action.value} ({decision.reason}{harm}); {', '.join(numbers)}"

    def _answer_lines(self) -> list[str]:
        if self.error:
            return [f"Generator failed: {self.error}"]
        if self.answer is None:
            return []
        answer = self.answer
        found = [f"Generator {answer.mode}: read {answer.read} passages"]
        if answer.left_out:
            found[0] += f", {answer.left_out} did not fit into context_tokens"
        if answer.removed_citations:
            found.append(
                f"Citations of sources that do not exist, removed: {answer.removed_citations}"
            )
        if answer.weak_citations:
            found.append(f"Citations without a word in common: {answer.weak_citations}")
        found.extend(
            f"Not found in the sources ({u.probability:.2f}): {u.text}" for u in answer.unsupported
        )
        found.extend(f"Note: {note}" for note in answer.notes)
        return found

    def trace(self) -> dict[str, Any]:
        """What happened, as plain data for JSON."""
        out, answer, searched = self.outcome, self.answer, self.searched
        return {
            "status": out.status.value,
            "band": out.band.value,
            "path": out.path.value,
            "reason": out.reason,
            "detail": out.detail,
            "searched": searched.to_dict() if searched.others or searched.notes else None,
            "policy": out.policy,
            "scorer": out.scorer.id,
            "gate": {
                "action": out.decision.action.value,
                "reason": out.decision.reason,
                "detail": out.decision.detail,
                "harm": out.decision.harm,
                "signals": {k: v for k, v in out.signals.values().items() if v is not None},
            },
            "top_n": out.top_n,
            "candidates": len(out.passages),
            "kept": [passage_row(p) for p in out.kept],
            "counts": {
                "pairs": out.stats.pairs,
                "cached": out.stats.cached,
                "truncated": out.stats.truncated,
                "tokens": out.stats.tokens,
            },
            "notes": list(out.notes),
            "generator": None
            if answer is None
            else {
                "mode": answer.mode,
                "read": answer.read,
                "left_out": answer.left_out,
                "removed_citations": answer.removed_citations,
                "weak_citations": answer.weak_citations,
                "unsupported": self.unsupported,
                "notes": list(answer.notes),
            },
            "error": self.error if self.error else None,
            "timings_ms": {k: round(v, 3) for k, v in self.timings_ms.items()},
            "rerank_timings_ms": {k: round(v, 3) for k, v in out.timings_ms.items()},
        }


def _rank_line(passage: Passage) -> str:
    before, after = passage.candidate.rank, passage.rank
    place = f"stays {after}" if before == after else f"{before} -> {after}"
    score = passage.relevance_score
    probability = "" if score is None else f", relevance {score:.3f}"
    return f"  {place}: {where(passage_row(passage))}{probability}"


def where(row: Mapping[str, Any]) -> str:
    """Title and heading of a passage (of `passage_row`), for people."""
    title = str(row["title"] or row["source"] or row["id"])
    return placed(title, str(row["heading"] or ""))


def placed(title: str, heading: str) -> str:
    """Title and heading path as one; a path that begins with the title stands for both."""
    if not heading or heading == title:
        return title
    return heading if heading.startswith(f"{title} > ") else f"{title}: {heading}"


def passage_row(passage: Passage) -> dict[str, Any]:
    """One passage with every score, as plain data; absent scores are None."""
    candidate = passage.candidate
    return {
        "id": candidate.id,
        "title": candidate.metadata.get("title"),
        "source": candidate.metadata.get("source"),
        "heading": candidate.metadata.get("heading"),
        "page": candidate.metadata.get("page"),
        "before": candidate.rank,
        "after": passage.rank,
        "dense": candidate.dense,
        "bm25": candidate.bm25,
        "fused": candidate.fused,
        "raw_score": passage.raw_score,
        "relevance_score": passage.relevance_score,
        "kept": passage.dropped is None,
        "dropped": None if passage.dropped is None else passage.dropped.value,
    }
