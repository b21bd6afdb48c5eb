"""The local judge: fitted on people's grades, reported on data sets that the fit has not seen.

    python benchmarks/judge.py --data ../shared/data --cache CACHE --out eval/results/judge

Each data set is judged by a logistic that was fitted on the others (WiCE is learned from by none:
its licence); beside it, share of the statement's words and cosine alone, and how far people agree
with each other. `--write` puts the shipped weights, fitted on all but WiCE, into the package.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Feature, Logistic
from rankgate.encoders import MINILM_SHA256, TokenEncoder
from rankgate.encoders.packing import PackedVectors, packed
from rankgate.judge import grounding, statements_of
from rankgate.judge.support import gather, read
from rankgate_eval.stats.auroc import auroc, auroc_interval, youden
from rankgate_eval.stats.fits import corpus_shares, fit_logistic
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.verdict.provenance import git_state, hardware

FloatArray = npt.NDArray[np.float64]

SETS = ("mtrag-faithfulness", "begin-wow", "wice-dev", "fm2")
LEARNED = ("mtrag-faithfulness", "begin-wow", "fm2")
BASELINES = ("overlap", "cosine")
FEATURES = (
    "overlap", "overlap_two", "adjacent", "cosine", "late", "late_low", "late_low_two", "late_min",
    "unmatched", "numbers_lacking", "numbers_far", "numbers_other", "names_found",
    "negation_differs",
)  # fmt: skip
RIDGE = 0.1
PRECISION = 0.9
WRONG_MARKS = 0.05
"""Of the sentences of answers that three people found wholly faithful."""
ALTERED = "altered"
"""Supported statements with another number, or their negation: what they then say is not there."""
SWAPS = 0.5  # of a data set's weight: enough to be told, little beside what people wrote
_BE = re.compile(r"\b(is|are|was|were|can|has|had|will|does|did)\b(?! not)")
_NOT = re.compile(r"\b(is|are|was|were|can|has|had|will|does|did) not\b")
_FAITHFUL = 3.5  # mean of a person's grades, 1 to 4, from which on an answer counts as faithful


@dataclass(slots=True, kw_only=True)
class Case:
    """One answer or claim that people graded.

    Attributes:
        data: the data set.
        id: unique in it.
        group: cases of one group succeed and fail together.
        kind: as the data set calls it.
        target: in [0, 1]; a mean grade is between.
        happened: whether it counts as supported.
        grades: one a person, where there are several.
        statements: of it.
        passages: what it is held against.
        rows: features, one mapping a statement.
    """

    data: str
    id: str
    group: str
    kind: str
    target: float
    happened: bool
    statements: tuple[str, ...]
    passages: tuple[str, ...]
    grades: tuple[float, ...] = ()
    rows: list[dict[str, float]] = field(default_factory=list)


def _lines(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / "judge" / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def cases_of(folder: Path, name: str) -> Iterator[Case]:
    """The graded cases of a data set; of fm2 each claim also with its gold sentences taken out."""
    for i, row in enumerate(_lines(folder, name)):
        if name == "mtrag-faithfulness":
            grades = tuple(float(g) for g in row["faithfulness"])
            mean = float(np.mean(grades))
            said = tuple(s.text for s in statements_of(row["response"]))
            if said and row["contexts"]:
                yield Case(
                    data=name, id=row["id"], group=row["id"].split("<")[0],
                    kind=row["id"].rpartition("|")[2], target=(mean - 1.0) / 3.0,
                    happened=mean >= _FAITHFUL, grades=grades, statements=said,
                    passages=tuple(row["contexts"]),
                )  # fmt: skip
        elif name == "fm2":
            for gone in (False, True):
                kind = row["label"] if not gone else f"gone, {row['label']}"
                yes = kind == "SUPPORTS"
                kept = row["others"] if gone else [*row["gold"], *row["others"]]
                yield Case(
                    data=name, id=f"{i}{'-' * gone}", group=row["page"], kind=kind,
                    target=float(yes), happened=yes, statements=(row["claim"],),
                    passages=tuple(kept),
                )  # fmt: skip
        else:
            wice = name == "wice-dev"
            yield Case(
                data=name, id=str(i), group=row["claim"] if wice else row["context"],
                kind=row["grade" if wice else "system"], target=float(row["label"]),
                happened=bool(row["label"]), statements=(row["claim"],),
                passages=(row["context"],),
            )  # fmt: skip


def altered(cases: Sequence[Case]) -> Iterator[Case]:
    """Supported cases beside their swaps, one statement each; of BEGIN the first 1,200 alone."""
    if cases and cases[0].data == "begin-wow":
        yield from itertools.islice(_altered(cases), 1200)
    else:
        yield from _altered(cases)


def _altered(cases: Sequence[Case]) -> Iterator[Case]:
    for case in cases:
        if not case.happened or len(case.grades) not in (0, 3) or min(case.grades, default=4.0) < 4:
            continue
        for i, said in enumerate(case.statements):
            other = _NOT.sub(r"\1", said, count=1) if _NOT.search(said) else None
            other = _BE.sub(r"\1 not", said, count=1) if other is None else other
            counted = re.sub(r"\d+", lambda m: str(int(m.group()[:9]) + 3), said, count=1)
            for j, text in enumerate((other, counted)):
                if text == said:
                    continue
                for k, (claim, yes) in enumerate(((said, True), (text, False))):
                    yield Case(
                        data=ALTERED, id=f"{case.data} {case.id} {i}{j}{k}",
                        group=f"{case.data} {case.group}",
                        kind=("negation", "number")[j], target=float(yes), happened=yes,
                        statements=(claim,), passages=case.passages,
                    )  # fmt: skip


class Kept:
    """The encoder, whose vectors are kept for this run."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.encoder = encoder
        self.tokenizer = encoder.tokenizer
        self.known: dict[str, PackedVectors] = {}

    def encode(self, texts: Sequence[str], **_: Any) -> Any:
        """Fresh texts alone."""
        read = self.encoder.encode(texts)
        self.known.update(zip(texts, map(packed, read), strict=True))
        return read

    def get_many(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        """What was read before."""
        return {t: self.known[t] for t in texts if t in self.known}


def features_of(cases: Sequence[Case], cache: Path) -> None:
    """Fill the rows; kept in a file, so that a stopped run goes on."""
    lines = cache.read_text("utf-8").splitlines() if cache.is_file() else []
    known = {row["key"]: row["rows"] for row in map(json.loads, lines)}
    kept: Kept | None = None
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.open("a", encoding="utf-8") as out:
        for case in cases:
            key = f"{case.data} {case.id}"
            if key not in known:
                kept = Kept(TokenEncoder.load()) if kept is None else kept
                passages = read(case.passages, kept, kept)
                said = read(case.statements, kept, kept)
                known[key] = [dict(gather(s, passages).features) for s in said]
                out.write(json.dumps({"key": key, "rows": known[key]}) + "\n")
            case.rows = [row for row in known[key] if row]


def fitted(cases: Sequence[Case]) -> Logistic:
    """On every statement of the cases; an answer's grade is each of its statements'."""
    rows = [(c, row) for c in cases for row in c.rows]
    x = np.array([[row[f] for f in FEATURES] for _, row in rows])
    y = np.array([c.target for c, _ in rows])
    counts = {c.id + c.data: len(c.rows) for c in cases}
    shares = corpus_shares([c.data for c in cases])
    of_case = {c.id + c.data: s for c, s in zip(cases, shares, strict=True)}
    weights = np.array(
        [
            of_case[c.id + c.data] / counts[c.id + c.data] * (SWAPS if c.data == ALTERED else 1.0)
            for c, _ in rows
        ]
    )
    intercept, found = fit_logistic(x, y, weights, ridge=RIDGE)
    return Logistic(
        intercept=round(float(intercept), 6),
        features=tuple(
            Feature(name=f, weight=round(float(w), 6)) for f, w in zip(FEATURES, found, strict=True)
        ),
    )


def scores(cases: Sequence[Case], model: Logistic | str) -> FloatArray:
    """(n,) mean over a case's statements of the probability, or of one feature."""
    found = []
    for case in cases:
        if isinstance(model, str):
            values = [row[model] for row in case.rows]
        else:
            values = [1.0 / (1.0 + np.exp(-(model.logit(row) or 0.0))) for row in case.rows]
        found.append(float(np.mean(values)) if values else 0.0)
    return np.array(found)


def measured(values: FloatArray, cases: Sequence[Case]) -> dict[str, Any]:
    """AUROC with its interval."""
    happened = np.array([c.happened for c in cases])
    groups = [c.group for c in cases]
    low, high = auroc_interval(values, happened, groups)
    return {"auroc": round(auroc(values, happened), 4), "ci": [round(low, 4), round(high, 4)]}


def views(name: str, cases: Sequence[Case]) -> dict[str, list[Case]]:
    """What is told from what."""
    found = {"all": list(cases)}
    if name == "wice-dev":
        found = {"supported against partially": [c for c in cases if c.kind != "not_supported"],
                 "supported against the rest": list(cases)}  # fmt: skip
    if name == "fm2":
        for against in ("REFUTES", "gone, SUPPORTS"):
            told = f"SUPPORTS against {against}"
            found[told] = [c for c in cases if c.kind in ("SUPPORTS", against)]
    return found


def report(every: Mapping[str, list[Case]], swaps: Mapping[str, list[Case]]) -> dict[str, Any]:
    """Each data set by what was learned from the others."""
    found: dict[str, Any] = {}
    for name, cases in every.items():
        learned = [n for n in LEARNED if n != name and n in every]
        model = fitted([c for n in learned for c in (*every[n], *swaps[n])])
        values = {"judge": scores(cases, model), **{b: scores(cases, b) for b in BASELINES}}
        at = {id(c): i for i, c in enumerate(cases)}
        found[name] = {
            "learned_from": learned,
            "views": {
                label: {
                    "n": len(part),
                    "groups": len({c.group for c in part}),
                    "supported": sum(c.happened for c in part),
                    **{m: measured(v[[at[id(c)] for c in part]], part) for m, v in values.items()},
                }
                for label, part in views(name, cases).items()
            },
        }
        for kind in ("number", "negation"):
            part = [c for c in swaps.get(name, ()) if c.kind == kind]
            if part:
                found[name]["views"][f"another {kind}"] = {
                    "n": len(part),
                    "groups": len({c.group for c in part}),
                    "supported": sum(c.happened for c in part),
                    **{m: measured(scores(part, b), part) for m, b in
                       (("judge", model), *((b, b) for b in BASELINES))},
                }  # fmt: skip
        if name == "mtrag-faithfulness":
            found[name]["people"] = people(cases, values["judge"])
    return found


def people(cases: Sequence[Case], values: FloatArray) -> dict[str, Any]:
    """A person, and the judge, each against the mean of the other two of three persons."""
    told = []
    for person in range(3):
        kept = [i for i, c in enumerate(cases) if len(c.grades) == 3]
        others = [np.mean([g for j, g in enumerate(cases[i].grades) if j != person]) for i in kept]
        happened = np.array(others) >= _FAITHFUL
        own = np.array([cases[i].grades[person] for i in kept])
        told.append(
            {
                "n": len(kept),
                "person": round(auroc(own, happened), 4),
                "judge": round(auroc(values[kept], happened), 4),
            }
        )
    return {
        "each_against_the_other_two": told,
        "person": round(float(np.mean([t["person"] for t in told])), 4),
        "judge": round(float(np.mean([t["judge"] for t in told])), 4),
    }


def thresholds(cases: Sequence[Case], swaps: Sequence[Case]) -> dict[str, float]:
    """Of the shipped model, each case scored by a fit that has not seen its group."""
    ids = {f"{c.data} {c.id}": c for c in cases}
    folds = group_folds(list(ids), {k: f"{c.data} {c.group}" for k, c in ids.items()})
    out: list[tuple[Case, float]] = []
    good: list[float] = []
    bad: list[float] = []
    for fold in folds:
        train = [ids[i] for i in fold.train]
        groups = {f"{c.data} {c.group}" for c in train}
        model = fitted([*train, *(c for c in swaps if c.group in groups)])
        held = [ids[i] for i in fold.held_out]
        out += zip(held, scores(held, model), strict=True)
        for case in held:
            if case.grades:
                each = [float(scores([replace(case, rows=[row])], model)[0]) for row in case.rows]
                good += each if min(case.grades) == 4.0 else []
                bad += each if np.mean(case.grades) <= 2.0 else []
    mark = float(np.quantile(good, WRONG_MARKS))
    values = np.array([v for _, v in out])
    happened = np.array([c.happened for c, _ in out])
    order = np.argsort(-values)
    precision = np.cumsum(happened[order]) / np.arange(1, happened.size + 1)
    enough = np.flatnonzero((precision >= PRECISION) & (np.arange(happened.size) >= 50))
    precise = float(values[order][enough[-1]]) if enough.size else 1.0
    cut = youden(values, happened)
    return {
        "youden": round(cut, 4),
        "mark": round(mark, 4),
        "mark_of_faithful": [WRONG_MARKS, len(good)],
        "mark_of_unfaithful": [round(float((np.array(bad) < mark).mean()), 4), len(bad)],
        "precise": round(precise, 4),
        "precise_is": PRECISION,
        "youden_sensitivity": round(float((values[happened] >= cut).mean()), 4),
        "youden_specificity": round(float((values[~happened] < cut).mean()), 4),
        "precise_recall": round(float((values[happened] >= precise).mean()), 4),
    }


def latency(folder: Path) -> dict[str, float]:
    """CPU seconds of an answer against its passages; cold, and with their vectors known."""
    judge = grounding.GroundingJudge.load()
    kept = Kept(TokenEncoder.load())
    warm = grounding.GroundingJudge(kept, token_store=kept)
    found: dict[str, list[float]] = {"cold": [], "known": []}
    for case in [c for c in cases_of(folder, "mtrag-faithfulness") if len(c.passages) > 2][:25]:
        warm.judge(case.statements, case.passages)
        for label, asked in (("cold", judge), ("known", warm)):
            begin = time.process_time()
            asked.judge(case.statements, case.passages)
            found[label].append(time.process_time() - begin)
    return {k: round(float(np.median(v)), 4) for k, v in found.items()}


def markdown(result: Mapping[str, Any]) -> str:
    """The tables."""
    made = result["made"]
    lines = [
        "# The local judge",
        "",
        f"`{made['command']}`, commit {made['commit']}, {made['hardware']}. Each data set is "
        "judged by weights that have not seen it. AUROC, 95% intervals over whole conversations, "
        "pages or claims.",
        "",
        "| data | what is told from what | n (groups) | judge | words alone | cosine alone |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in result["sets"].items():
        for label, view in found["views"].items():
            cells = [
                f"{view[m]['auroc']:.3f} ({view[m]['ci'][0]:.3f} to {view[m]['ci'][1]:.3f})"
                for m in ("judge", *BASELINES)
            ]
            lines.append(
                f"| {name} | {label} | {view['n']} ({view['groups']}) | {' | '.join(cells)} |"
            )
    people = result["sets"]["mtrag-faithfulness"]["people"]
    cut, seconds = result["thresholds"], result["latency"]
    lines += [
        "",
        f"Of three people who graded mtRAG's answers, one told what the other two call faithful "
        f"with an AUROC of {people['person']:.3f} (mean of the three); the judge with "
        f"{people['judge']:.3f}.",
        "",
        f"Shipped weights: {', '.join(LEARNED)}; thresholds by grouped 5-fold: Youden "
        f"{cut['youden']:.3f} (finds {cut['youden_sensitivity']:.0%} of the supported and "
        f"{cut['youden_specificity']:.0%} of the others), precision {cut['precise_is']:.0%} from "
        f"{cut['precise']:.3f} on ({cut['precise_recall']:.0%} of the supported). A sentence is "
        f"marked below {cut['mark']:.3f}: {cut['mark_of_faithful'][0]:.0%} of "
        f"{cut['mark_of_faithful'][1]} sentences of answers that all three graded 4 are, and "
        f"{cut['mark_of_unfaithful'][0]:.0%} of {cut['mark_of_unfaithful'][1]} of answers graded 2 "
        "or less on average, not all of whose sentences are wrong.",
        "",
        "An answer of mtRAG against its passages, median of 25, CPU seconds: "
        f"{seconds['cold']:.2f} with the passages to read, {seconds['known']:.2f} where their "
        "vectors are kept.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the options, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True, help="features of the statements")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="the shipped weights, too")
    asked = parser.parse_args()
    every = {}
    for name in SETS:
        every[name] = list(cases_of(asked.data, name))
        features_of(every[name], asked.cache / f"{name}.jsonl")
        every[name] = [c for c in every[name] if c.rows]
    learned = [c for n in LEARNED for c in every[n]]
    swaps = {n: list(altered(every[n])) for n in LEARNED}
    every_swap = [c for n in LEARNED for c in swaps[n]]
    features_of(every_swap, asked.cache / f"{ALTERED}.jsonl")
    cuts = thresholds(learned, every_swap)
    commit, changed = git_state()
    made = {
        "command": "python benchmarks/judge.py --data ../shared/data",
        "commit": f"{commit} with changes" if changed else commit,
        "seed": 0,
        "hardware": hardware(),
    }
    if asked.write:
        shipped = {
            "name": "rankgate-grounding",
            "version": 1,
            "encoder": MINILM_SHA256,
            "learned_from": {n: len(every[n]) for n in LEARNED},
            "thresholds": cuts,
            "model": fitted([*learned, *every_swap]).to_dict(),
        }
        path = Path(grounding.__file__).with_name("grounding.json")
        path.write_text(json.dumps(shipped, indent=1) + "\n", "utf-8")
    result = {
        "made": made,
        "sets": report(every, swaps),
        "thresholds": cuts,
        "latency": latency(asked.data),
    }
    asked.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    asked.out.with_suffix(".md").write_text(markdown(result), "utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
