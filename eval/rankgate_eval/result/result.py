"""The result of an evaluation: everything that verdict, report, check and a notebook need.

`to_dict` follows `result.schema.json`, which ships with the package.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from rankgate.errors import ConfigError
from rankgate_eval.result.parts import (
    ArmResult,
    BudgetResult,
    Change,
    DataResult,
    Diagnosed,
    Estimate,
    Frontier,
    HeadroomResult,
    LatencyResult,
    Made,
    MovedList,
    QueryRow,
    RecallCurve,
    Refusals,
    ReliabilityResult,
    StrataResult,
    UnanswerableRow,
    WorstQuery,
)
from rankgate_eval.result.plain import from_plain, to_plain
from rankgate_eval.verdict.verdict import Call

__all__ = ["ARMS", "VERSION", "Result", "result_schema"]

VERSION = 1
FORMAT = "rankgate-eval-result"
ARMS = ("first_stage", "tuned_first_stage", "rerank", "policy")
"""Names of the arms, in the order in which they are shown."""


@functools.cache
def _schema_text() -> str:
    return resources.files("rankgate_eval.result").joinpath("result.schema.json").read_text("utf-8")


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(_schema_text()))


def result_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result file; a fresh copy."""
    schema: dict[str, Any] = json.loads(_schema_text())
    return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `rankgate eval` found.

    Attributes:
        verdict: ship, ship_behind_gate, dont_ship, not_enough_data or not_a_fair_test.
        reasons: sentences, the deciding ones first.
        queries_needed: for not_enough_data; None otherwise, and where no number would do.
        n: judged queries.
        clusters: their document groups.
        data: the data set.
        arms: `first_stage`, `tuned_first_stage`, `rerank`, `policy`.
        differences: `after-before`, such as `policy-tuned_first_stage`, to metric to change.
            Metrics of the policy are of its order before the floor: a refusal is judged by its
            own rule, in `refusals`.
        recall_curve: of the first stage.
        headroom: what there was to win.
        precision_gap: nDCG@10 of always reranking minus the first stage's.
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
        unanswerable: unjudged queries.
        end_to_end: what `rankgate eval e2e` adds; None where it did not run.
    """

    verdict: str
    reasons: tuple[str, ...]
    queries_needed: int | None
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
    end_to_end: Mapping[str, Any] | None = field(default=None)

    @property
    def exit_code(self) -> int:
        """Of the command: 0 ship (also behind the gate), 1 don't, 3 not enough data, 4 unfair."""
        return Call(self.verdict).exit_code

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
        plain: dict[str, Any] = {"format": FORMAT, "version": VERSION, **to_plain(self)}
        plain["arms"] = {name: _arm_to(arm) for name, arm in self.arms.items()}
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
        from jsonschema.exceptions import best_match

        error = best_match(_validator().iter_errors(data))
        if error is not None:
            where = "/".join(str(p) for p in error.absolute_path) or "(top level)"
            raise ConfigError(f"{source}: at {where}: {error.message[:300]}")
        arms = {name: _arm_from(arm) for name, arm in data["arms"].items()}
        rest = {k: v for k, v in data.items() if k not in ("arms", "format", "version")}
        empty = from_plain(cls, {**rest, "arms": {}})
        return replace(empty, arms=arms)

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
        file = Path(path)
        temporary = file.with_name(file.name + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
        temporary.replace(file)


_ARM_FIELDS = tuple(f.name for f in fields(ArmResult) if f.name != "metrics")


def _arm_to(arm: ArmResult) -> dict[str, Any]:
    """Metrics beside the other keys, as the schema has them."""
    rest = {name: to_plain(getattr(arm, name)) for name in _ARM_FIELDS}
    return {**{name: to_plain(value) for name, value in arm.metrics.items()}, **rest}


def _arm_from(data: Mapping[str, Any]) -> ArmResult:
    latency = data["latency_ms"]
    return ArmResult(
        metrics={k: from_plain(Estimate, v) for k, v in data.items() if k not in _ARM_FIELDS},
        latency_ms=None if latency is None else from_plain(LatencyResult, latency),
        note=data.get("note", ""),
        missing=data.get("missing", 0),
    )
