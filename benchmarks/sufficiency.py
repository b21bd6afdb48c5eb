r"""Is the answer in there? What each part tells, domain left out, and what all of them tell.

    python benchmarks/sufficiency_lists.py ../shared/data .cache/corpora .rankgate/bundle \
        .rankgate/policies .cache/sufficiency 140
    python benchmarks/sufficiency.py --lists .cache/sufficiency --reader FILE --out FILE
    python benchmarks/sufficiency.py --lists .cache/sufficiency --bands

Positive is a question with a passage among the best five that is known to answer it (NoMIRACL: a
list that people found to hold the answer). Nothing is fitted on NoMIRACL but its thresholds, each
half's on the other half; every other corpus is told by a model that has not seen its domain.
Writes FILE.json, FILE.md and FILE.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from policy_rows import CORPORA
from sufficiency_lists import Listed, load

from rankgate import Floor, Policy
from rankgate.decide.evidence import EVIDENCE, evidence_of
from rankgate.decide.floor import Band
from rankgate.decide.logistic import Feature, Logistic, sigmoid
from rankgate.decide.sufficiency import READINGS, Sufficiency, reading_features
from rankgate.encoders import TokenEncoder
from rankgate.encoders.reader import JointReader
from rankgate_eval.stats.fits import fit_logistic
from rankgate_eval.verdict.provenance import git_state, hardware

FloatArray = npt.NDArray[np.float64]

PARTS: Mapping[str, tuple[str, ...]] = {
    "default probability": ("best",),
    "cosine": ("dense",),
    "words": ("coverage",),
    "stands out": ("best", "gap"),
    "stands out, cosine": ("best", "gap", "dense"),
    "names": ("names",),
    "names and default": ("best", "names"),
    "names, stands out, cosine": ("best", "gap", "dense", "names"),
    "all evidence": EVIDENCE,
    "reader alone": READINGS,
    "reader and default": ("best", *READINGS),
    "reader, stands out": ("best", "gap", *READINGS),
    "all": (*EVIDENCE, *READINGS),
}
SHIPPED = ("best", "names")
_RIDGE = 0.01
_SHARES = {"answerable": 0.5, "unanswerable": 0.2, "removed": 0.2, "near_miss": 0.2, "foreign": 0.1}
REFUSALS = (0.02, 0.05)


def features_of(lists: Sequence[Listed], how: str, reader: JointReader | None, cache: Path) -> Any:
    """A dict of features for each list; what the reader says is kept on disk."""
    known: dict[str, list[float]] = {}
    if cache.exists():
        known = dict(map(json.loads, cache.read_text("utf-8").splitlines()))
    found = []
    with cache.open("a", encoding="utf-8") as kept:
        for one in lists:
            shown = one.shown[how]
            row = evidence_of(one.question, [c for c, _ in shown], [v for _, v in shown])
            if reader is not None:
                key = json.dumps([one.question, [c.id for c, _ in shown]])
                if key not in known:
                    readings = reader.read([(one.question, c.text) for c, _ in shown])
                    known[key] = [round(r.answers, 4) for r in readings]
                    kept.write(json.dumps([key, known[key]]) + "\n")
                row |= reading_features(known[key])
            found.append(row)
    return found


def matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> FloatArray:
    """(n, features)."""
    return np.array([[row[n] for n in names] for row in rows], dtype=np.float64)


def shares_of(lists: Sequence[Listed]) -> FloatArray:
    """(n,) weights: corpora count the same, kinds of unanswerable by `_SHARES`; their sum is 1."""
    counts = Counter((one.corpus, one.stratum) for one in lists)
    weights = np.array([_SHARES[o.stratum] / counts[o.corpus, o.stratum] for o in lists])
    shares: FloatArray = weights / weights.sum()
    return shares


def fitted(
    lists: Sequence[Listed], rows: Sequence[Mapping[str, float]], names: Sequence[str]
) -> tuple[float, FloatArray]:
    """A logistic; answerable questions without a known passage among the five are left out."""
    at = [i for i, one in enumerate(lists) if one.sufficient == one.answerable]
    some = [lists[i] for i in at]
    y = np.array([one.sufficient for one in some])
    return fit_logistic(matrix([rows[i] for i in at], names), y, shares_of(some), ridge=_RIDGE)


def shipped(lists: Sequence[Listed], rows: Sequence[Mapping[str, float]]) -> Sufficiency:
    """What the default policy has: fitted on every corpus; it refuses nothing by itself.

    Of the questions whose answer is known to be among the five, 1% are called weak evidence. As
    a refusal the same would be wrong where a name was misheard or is written otherwise.
    """
    intercept, weights = fitted(lists, rows, SHIPPED)
    values = intercept + matrix(rows, SHIPPED) @ weights
    known = values[[one.sufficient for one in lists]]
    weak = round(sigmoid(float(np.quantile(known, 0.01))), 3)
    features = (
        Feature(name=n, weight=round(w, 5)) for n, w in zip(SHIPPED, weights.tolist(), strict=True)
    )
    evidence = Logistic(intercept=round(intercept, 5), features=tuple(features))
    strata = Counter(one.stratum for one in lists)
    return Sufficiency(
        evidence=evidence,
        floor=Floor(weak_below=weak),
        provenance={"command": "python benchmarks/sufficiency.py --how shipped --into", **strata},
    )


def bands(lists: Sequence[Listed]) -> Iterator[str]:
    """What the default policy says as it ships: by stratum, the shares refused and cautioned."""
    section = Policy.default().section("hybrid")
    judged: dict[str, list[Band]] = {}
    for one in lists:
        shown = one.shown["shipped"]
        logits = [v for _, v in shown]
        band = Band.REFUSE
        if not section.floor.refuses(sigmoid(max(logits))) and section.sufficiency is not None:
            said = section.sufficiency.judge(
                evidence_of(one.question, [c for c, _ in shown], logits)
            )
            band = Band.ANSWER if said is None else section.sufficiency.floor.band(said.probability)
        apart = one.corpus if one.corpus in ("nomiracl-en", "golden") else "all others"
        judged.setdefault(f"{apart}, {one.stratum}", []).append(band)
    for name, said in judged.items():
        refused = sum(b is Band.REFUSE for b in said) / len(said)
        either = sum(b is not Band.ANSWER for b in said) / len(said)
        yield f"{name}: n {len(said)}, refused {refused:.3f}, refused or weak {either:.3f}"


def auroc(positive: FloatArray, negative: FloatArray) -> float:
    """That one of these is above one of those; ties count half."""
    if not positive.size or not negative.size:
        return float("nan")
    below = np.searchsorted(np.sort(negative), positive, "left")
    upto = np.searchsorted(np.sort(negative), positive, "right")
    return float((below + upto).sum() / (2.0 * positive.size * negative.size))


def answered(positive: FloatArray, negative: FloatArray, refusals: float) -> float:
    """Share of the negative that is answered where this share of the positive is refused."""
    return float((negative >= np.quantile(positive, refusals)).mean())


def halves(values: FloatArray, positive: npt.NDArray[np.bool_], refusals: float, seed: int) -> Any:
    """Refused and answered, each half by the other half's threshold; mean of 20 draws."""
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(20):
        half = rng.permutation(values.size) < values.size // 2
        for a in (half, ~half):
            cut = np.quantile(values[~a & positive], refusals)
            told.append(
                ((values[a & positive] < cut).mean(), (values[a & ~positive] >= cut).mean())
            )
    return np.mean(told, axis=0).round(4).tolist()


def numbers(values: FloatArray, lists: Sequence[Listed], seed: int = 0) -> dict[str, Any]:
    """AUROC and false answers of one corpus with 95% intervals, groups drawn with repetition."""
    use = np.array([one.sufficient == one.answerable for one in lists])
    positive = np.array([one.sufficient for one in lists])[use]
    values = values[use]
    groups = np.unique([one.group for one, u in zip(lists, use, strict=True) if u],
                       return_inverse=True)[1]  # fmt: skip

    def told(v: FloatArray, p: npt.NDArray[np.bool_]) -> list[float]:
        return [auroc(v[p], v[~p]), *(answered(v[p], v[~p], r) for r in REFUSALS)]

    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    draws = []
    for _ in range(300):
        at = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        if positive[at].any() and not positive[at].all():
            draws.append(told(values[at], positive[at]))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    names = ["auroc", *(f"answered_at_{r:.0%}" for r in REFUSALS)]
    found: dict[str, Any] = {"n": int(positive.sum()), "unanswerable": int((~positive).sum())}
    for name, value, a, b in zip(names, told(values, positive), low, high, strict=True):
        found[name] = [round(float(x), 4) for x in (value, a, b)]
    found["by_halves_at_5%"] = halves(values, positive, 0.05, seed)
    return found


def pairs_won(reader: JointReader, folder: Path) -> dict[str, list[int]]:
    """Of each suite of pairs: how often the right passage has the higher logit, and of how many."""
    found = {}
    for file in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        told = reader.read([(r["query"], r[side]) for r in rows for side in ("right", "wrong")])
        won = sum(a.answers > b.answers for a, b in zip(told[::2], told[1::2], strict=True))
        found[file.stem] = [won, len(rows)]
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--reader", type=Path, help="reader.safetensors; None: evidence alone")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--how", choices=("left_out", "shipped"), default="left_out")
    parser.add_argument("--bands", action="store_true", help="of the default policy; prints them")
    parser.add_argument("--pairs", type=Path, default=Path("eval/robustness"))
    parser.add_argument("--into", type=Path, help="policy whose hybrid section is given it")
    args = parser.parse_args()
    lists = [o for name in (*CORPORA, "nomiracl-en") for o in load(args.lists, name)]
    if args.bands:
        print(*bands(lists), sep="\n")
        return
    reader, mark = None, "none"
    if args.reader is not None:
        reader = JointReader.load(args.reader, TokenEncoder.load())
        mark = reader.sha256[:8]
    rows = features_of(lists, args.how, reader, args.lists / f"readings-{args.how}-{mark}.jsonl")
    if args.into is not None:
        own = [i for i, o in enumerate(lists) if o.corpus != "nomiracl-en"]
        made = shipped([lists[i] for i in own], [rows[i] for i in own])
        policy = Policy.load(args.into)
        policy.with_section("hybrid", sufficiency=made).save(args.into)
        print(made, file=sys.stderr)
        return
    parts = {n: f for n, f in PARTS.items() if reader is not None or "reads_best" not in f}
    result: dict[str, Any] = {"parts": {}, "models": {}}
    if reader is not None:
        result["pairs"] = pairs_won(reader, args.pairs)
    corpora = sorted({one.corpus for one in lists})
    curves: dict[str, FloatArray] = {}
    for part, names in parts.items():
        values = np.zeros(len(lists))
        for domain in sorted({one.domain for one in lists}):
            learn = [i for i, o in enumerate(lists)
                     if o.domain != domain and o.corpus != "nomiracl-en"]  # fmt: skip
            intercept, weights = fitted([lists[i] for i in learn], [rows[i] for i in learn], names)
            at = [i for i, o in enumerate(lists) if o.domain == domain]
            values[at] = intercept + matrix([rows[i] for i in at], names) @ weights
            result["models"].setdefault(part, {})[domain] = dict(
                zip(names, weights.round(4).tolist(), strict=True)
            )
        curves[part] = values
        told = {}
        for corpus in corpora:
            at = [i for i, o in enumerate(lists) if o.corpus == corpus]
            told[corpus] = numbers(values[at], [lists[i] for i in at])
            for stratum in sorted({lists[i].stratum for i in at} - {"answerable"}):
                some = [i for i in at if lists[i].stratum in ("answerable", stratum)]
                told[f"{corpus}, {stratum}"] = numbers(values[some], [lists[i] for i in some])
        result["parts"][part] = told
        means = {k: round(float(np.mean([told[c][k][0] for c in corpora if c != "nomiracl-en"])), 4)
                 for k in ("auroc", "answered_at_2%", "answered_at_5%")}  # fmt: skip
        result["parts"][part]["mean of corpora"] = means
        print(part, means, "nomiracl", told["nomiracl-en"]["auroc"],
              told["nomiracl-en"]["answered_at_5%"], told["nomiracl-en"]["by_halves_at_5%"],
              file=sys.stderr)  # fmt: skip
    commit, changed = git_state()
    result |= {
        "command": f"python benchmarks/sufficiency.py --lists {args.lists.name} --how {args.how}"
        + ("" if args.reader is None else f" --reader {args.reader.name}"),
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "seed": 0,
    }
    write(result, curves, lists, args.out)


def write(
    result: dict[str, Any], curves: Mapping[str, FloatArray], lists: Sequence[Listed], out: Path
) -> None:
    """The numbers, a table for people, and the risk-coverage curves."""
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    out.with_suffix(".md").write_text(markdown(result), "utf-8")
    out.with_suffix(".svg").write_text(picture(curves, lists), "utf-8")


def markdown(result: dict[str, Any]) -> str:
    """A table a corpus."""
    parts = result["parts"]
    lines = [
        "# Is the answer in there?",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed 0, "
        f"{result['hardware']}.",
        "",
        "Dev splits; every part a logistic that has not seen the corpus's domain, over scores of "
        "an encoder and a policy that have not either. Nothing was fitted on nomiracl-en. "
        "Positive: a passage that is known to answer is among the best five. AUROC, and the share "
        "of the unanswerable that is answered where 2% and 5% of the answerable are refused, with "
        "95% intervals (groups drawn).",
    ]
    corpora = [c for c in parts["default probability"] if c != "mean of corpora"]
    for corpus in ["mean of corpora", *corpora]:
        first = parts["default probability"][corpus]
        n = f" (n = {first['n']} and {first['unanswerable']})" if "n" in first else ""
        lines += ["", f"## {corpus}{n}", "", "| part | AUROC | answered at 2% | at 5% |",
                  "|---|---|---|---|"]  # fmt: skip
        for part, told in parts.items():
            cells = [told[corpus][k] for k in ("auroc", "answered_at_2%", "answered_at_5%")]
            shown = [f"{c:.3f}" if isinstance(c, float) else f"{c[0]:.3f} [{c[1]:.3f}, {c[2]:.3f}]"
                     for c in cells]  # fmt: skip
            lines.append(f"| {part} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def picture(curves: Mapping[str, FloatArray], lists: Sequence[Listed]) -> str:
    """Of what is answered, the share that should not have been; over the share that is answered."""
    shown = [
        p for p in ("default probability", "all evidence", "reader alone", "all") if p in curves
    ]
    colours = ("#888", "#2a6fb0", "#c98a1b", "#b03a2e")
    panels = ["nomiracl-en", "mtrag-conversations", "mtrag", "covid-qa"]
    made = []
    for place, corpus in enumerate(panels):
        x0, y0 = 50 + 330 * (place % 2), 30 + 250 * (place // 2)
        at = [i for i, o in enumerate(lists)
              if o.corpus == corpus and o.sufficient == o.answerable]  # fmt: skip
        positive = np.array([lists[i].sufficient for i in at])
        made.append(f'<text x="{x0}" y="{y0 - 8}">{corpus} (n = {len(at)})</text>'
                    f'<rect x="{x0}" y="{y0}" width="280" height="190" fill="none" '
                    'stroke="#999"/>')  # fmt: skip
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            made.append(f'<text x="{x0 + 280 * tick}" y="{y0 + 204}" text-anchor="middle">'
                        f'{tick:.2f}</text><text x="{x0 - 4}" y="{y0 + 194 - 190 * tick}" '
                        f'text-anchor="end">{tick:.2f}</text>')  # fmt: skip
        for part, colour in zip(shown, colours, strict=False):
            order = np.argsort(-curves[part][at], kind="stable")
            kept = np.arange(1, len(at) + 1)
            risk = np.cumsum(~positive[order]) / kept
            points = " ".join(
                f"{x0 + 280 * k / len(at):.1f},{y0 + 190 - 190 * r:.1f}"
                for k, r in zip(kept.tolist(), risk.tolist(), strict=True)
                if k >= 5
            )
            made.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    for place, (part, colour) in enumerate(zip(shown, colours, strict=False)):
        made.append(f'<text x="{50 + 165 * place}" y="535" fill="{colour}">{part}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="545" '
        'font-family="sans-serif" font-size="11"><rect width="700" height="545" fill="#fff"/>'
        + "".join(made)
        + "</svg>\n"
    )


if __name__ == "__main__":
    main()
