"""The result of an evaluation: everything that verdict, report, check and a notebook need.

Its models are what the file is, and the published JSON Schema is made of them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import to_jsonable_python

from rankgate.errors import ConfigError
from rankgate.texts import whole_file
from rankgate_eval.result.call import Call
from rankgate_eval.result.parts import (
    ArmResult,
    BudgetResult,
    Change,
    Frontier,
    HeadroomResult,
    RecallCurve,
    Refusals,
    ReliabilityResult,
    StrataResult,
)
from rankgate_eval.result.rows import (
    STRICT,
    DataResult,
    Diagnosed,
    Made,
    MovedList,
    QueryRow,
    UnanswerableRow,
    WorstQuery,
)

VERSION: Literal[2] = 2
FORMAT: Literal["rankgate-eval-result"] = "rankgate-eval-result"
ARMS = ("first_stage", "tuned_first_stage", "skipped", "rerank", "policy")
"""Names of the arms, in the order in which they are shown."""
BASELINES = {
    "tuned_first_stage": "the tuned first stage",
    "skipped": "the same policy with everything skipped",
}
"""Those that need no scorer, in words; the policy has to be better than each."""


@functools.cache
def _adapter() -> TypeAdapter[Result]:
    return TypeAdapter(Result)


def result_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result file; a fresh copy."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://rankgate.dev/schemas/result-{VERSION}.json",
        **_adapter().json_schema(mode="serialization"),
        "title": "Result of `rankgate eval`",
    }


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Result:
    """What `rankgate eval` found.

    Attributes:
        format, version: of the file.
        verdict: ship, ship_behind_gate, dont_ship, not_enough_data or not_a_fair_test.
        reasons: sentences, the deciding ones first.
        queries_needed: for not_enough_data; None otherwise, and where no number would do.
        baseline: the arm without a scorer that orders best: `tuned_first_stage` or `skipped`.
        n: judged queries.
        clusters: their document groups.
        data: the data set.
        arms: `first_stage`; `tuned_first_stage`; `skipped`, the policy with everything skipped;
            `rerank`, with nothing skipped; `policy`. Metrics are of what is served, after the
            floor: a refused query counts 0.
        differences: `after-before`, such as `policy-tuned_first_stage`, to metric to change.
        recall_curve: of the first stage.
        headroom: what there was to win.
        precision_gap: nDCG@10 of always reranking, before the floor, minus the first stage's.
        inversions, lifts: relevant passages that left the top, or came into it.
        skip_rate: share of the judged queries that the gate skipped.
        paths: path to number of judged queries.
        refusals: what the floor did.
        strata: of the primary comparison; None where there were too few queries.
        reliability: `top_1` and `top_n`; None where no probability was given.
        frontier: None where nothing was reranked.
        budget: None where none was given.
        worst_queries: at most twenty.
        diagnosis: where quality is lost.
        warnings: sentences that a reader should know before the numbers.
        made: how.
        per_query: judged queries.
        unanswerable: queries that the floor should refuse.
        snippets: beginnings of passages that stand in their lists, by passage id; those of the
            queries that change most where there are too many.
        end_to_end: what `rankgate eval e2e` adds; None where it did not run.
    """

    format: Literal["rankgate-eval-result"] = FORMAT
    version: Literal[2] = VERSION
    verdict: Call
    reasons: tuple[str, ...]
    queries_needed: int | None
    baseline: str
    n: int
    clusters: int
    data: DataResult
    arms: Mapping[str, ArmResult]
    differences: Mapping[str, Mapping[str, Change]]
    recall_curve: RecallCurve
    headroom: HeadroomResult
    precision_gap: Change
    inversions: MovedList
    lifts: MovedList
    skip_rate: float
    paths: Mapping[str, int]
    refusals: Refusals
    strata: StrataResult | None
    reliability: Mapping[str, ReliabilityResult | None]
    frontier: Frontier | None
    budget: BudgetResult | None
    worst_queries: tuple[WorstQuery, ...]
    diagnosis: tuple[Diagnosed, ...]
    warnings: tuple[str, ...]
    made: Made
    per_query: tuple[QueryRow, ...]
    unanswerable: tuple[UnanswerableRow, ...] = ()
    snippets: Mapping[str, str] = field(default_factory=dict)
    end_to_end: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """Of the command: 0 ship (also behind the gate), 1 don't, 3 not enough data, 4 unfair."""
        return self.verdict.exit_code

    @property
    def primary(self) -> tuple[str, str]:
        """The two metrics that decide: `ndcg@10` and `recall@<top_n>`."""
        return "ndcg@10", f"recall@{self.made.top_n}"

    def with_end_to_end(self, section: Mapping[str, Any]) -> Result:
        """A copy with what the end-to-end evaluation found."""
        return replace(self, end_to_end=dict(section))

    def to_frame(self) -> Any:
        """The judged queries as a pandas frame: one row a query, `arm:metric` columns.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from rankgate_eval.result.frame import query_frame

        return query_frame(self.per_query)

    def to_rows(self) -> list[dict[str, Any]]:
        """The judged queries as plain rows, `arm:metric` keys."""
        from rankgate_eval.result.frame import query_rows

        return query_rows(self.per_query)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the schema describes it."""
        plain: dict[str, Any] = to_jsonable_python(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "result") -> Result:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: not a result, or of another version.
        """
        version = data.get("version") if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise ConfigError(f"{source}: not a result of `rankgate eval`; give its result.json")
        if version != VERSION:
            raise ConfigError(
                f"{source}: result version {version}, this rankgate reads {VERSION}. "
                "Run `rankgate eval` again, or install the rankgate that wrote it."
            )
        try:
            # As JSON, in which a list is a tuple and nothing else is made to fit.
            return _adapter().validate_json(json.dumps(data), strict=True)
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            where = "/".join(str(part) for part in first["loc"]) or "(top level)"
            raise ConfigError(f"{source}: at {where}: {first['msg']}") from exc

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a result file.

        Raises:
            ConfigError: not readable, not JSON, or not a result of this version.
        """
        file = Path(path)
        try:
            data = json.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
            raise ConfigError(f"cannot read the result {file}: {exc}") from exc
        return cls.from_dict(data, source=str(file))

    def save(self, path: str | Path) -> None:
        """Write the result file, replacing an older one only when it is complete."""
        with whole_file(Path(path)) as part:
            part.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
