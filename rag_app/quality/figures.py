"""How the running server is doing, for the Quality page: measured here, or said to be missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_app.quality.ratings import Ratings
from rag_app.quality.traffic import Traffic, Watched
from rag_app.quality.trial import Trial
from rag_app.quality.trust import Trust, trust_of
from rankgate.feedback import FEEDBACK_FILE, read_feedback
from rankgate.live.drift import FALSE_ALARMS

if TYPE_CHECKING:
    from rag_app.quality.recent import Handled, Recent
    from rag_app.quality.skip_audit import SkipAudit
    from rag_app.settings import Settings

_STATUSES = ("reranked", "skipped", "degraded", "refused")
_STAGES = ("retrieve", "rerank", "generate", "total")
# A percentile that fewer samples than this cannot carry is not shown.
_NEEDED = {50: 5, 95: 20, 99: 100}
_Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An evaluation report in the data folder.

    Attributes:
        name: of its folder, or of its file without the ending; stands in its address.
        made: when, in UTC.
        verdict: `ship`, `ship_behind_gate`, `dont_ship`, `not_enough_data`, `not_a_fair_test`; ""
            where no `result.json` stands beside it.
        queries: evaluated questions; None where it is not known.
    """

    name: str
    path: Path
    made: datetime
    verdict: str
    queries: int | None


def reports(folder: Path, reach: Sequence[str] | None = None) -> list[Report]:
    """`reports/NAME/report.html`, as `rankgate eval --out` writes it, and `reports/NAME.html`.

    The latest first.

    Args:
        reach: collections of whoever asks: of reports, which quote questions and passages, they
            see those that are called like one of them. None: all.
    """
    base = folder / "reports"
    found = [_report(p.parent.name, p) for p in base.glob("*/report.html")]
    found += [_report(p.stem, p) for p in base.glob("*.html")]
    seen = [r for r in found if reach is None or r.name in reach]
    return sorted(seen, key=lambda r: (r.made, r.name), reverse=True)


def find_report(folder: Path, name: str, reach: Sequence[str] | None = None) -> Report | None:
    """The report of this name; None where there is none. Names are compared, never joined."""
    return next((r for r in reports(folder, reach) if r.name == name), None)


def watched(traffic: Traffic, folder: Path, collection: str) -> tuple[Watched | None, Trust | None]:
    """Weeks of a collection's traffic, and what people said of its probabilities."""
    found = traffic.watched(collection)
    file = folder / FEEDBACK_FILE
    if found is None or not file.is_file():
        return found, None
    return found, trust_of(
        read_feedback(file), policy=found.policy, collection=collection, promise=found.promise
    )


def summary(
    settings: Settings,
    recent: Recent,
    skip_audit: SkipAudit,
    traffic: Traffic,
    trial: Trial | None,
    collection: str,
    reach: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Everything that the page shows.

    The rates are of the questions that this process answered lately; their intervals are
    Wilson's, at 95%.

    Args:
        recent: the questions that were answered lately.
        skip_audit: what became of those that skipped the scorer.
        trial: of two policies; None: one answers.
        collection: whose weeks and probabilities are shown.
        reach: as `reports`.
    """
    folder = Path(settings.data_dir)
    handled = recent.all()
    weeks, trust = watched(traffic, folder, collection)
    counted = Counter(h.status for h in handled)
    return {
        "since": recent.since,
        "n": len(handled),
        "most": recent.kept,
        "rates": [_rate(s, counted[s], len(handled)) for s in _STATUSES],
        "failed": sum(h.failed for h in handled),
        "reasons": _reasons(handled),
        "stages": [_stage(s, handled) for s in _STAGES],
        "skip_audit": skip_audit.summary(),
        "traffic": weeks,
        "trust": trust,
        "trial": None if trial is None else trial.standing(collection),
        "false_alarms": FALSE_ALARMS,
        "reports": reports(folder, reach),
        "thumbs": Ratings(folder).counts() if settings.feedback else None,
    }


def _rate(status: str, count: int, n: int) -> dict[str, Any]:
    low, high = _wilson(count, n)
    share = count / n if n else 0.0
    return {"status": status, "count": count, "share": share, "low": low, "high": high}


def _wilson(count: int, n: int) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if n == 0:
        return 0.0, 1.0
    share, square = count / n, _Z**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n**2)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _reasons(handled: Sequence[Handled]) -> list[dict[str, Any]]:
    """Why questions took their path, the most frequent first."""
    counted = Counter((h.path, h.path_reason) for h in handled)
    return [
        {"path": path, "reason": reason, "count": count}
        for (path, reason), count in counted.most_common(8)
    ]


def _stage(stage: str, handled: Sequence[Handled]) -> dict[str, Any]:
    times = [h.timings_ms[stage] for h in handled if stage in h.timings_ms]
    row: dict[str, Any] = {"stage": stage, "n": len(times)}
    for percent, needed in _NEEDED.items():
        enough = len(times) >= needed
        row[f"p{percent}"] = float(np.percentile(times, percent)) if enough else None
    return row


def _report(name: str, path: Path) -> Report:
    verdict, queries = "", None
    result = path.with_name("result.json") if path.name == "report.html" else None
    if result is not None and result.is_file():
        try:
            read = json.loads(result.read_text("utf-8"))
            verdict, queries = str(read.get("verdict", "")), int(read["n"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a report whose numbers cannot be read is still a report
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Report(name=name, path=path, made=made, verdict=verdict, queries=queries)
