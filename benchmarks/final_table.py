"""The final run as tables that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankgate_eval.calibrate.measure import share


def dev_markdown(found: Mapping[str, Any]) -> str:
    """What calibration says of itself, on dev questions held out by cross-fitting."""
    lines = [
        "| corpus | n | part | kept | |",
        "|---|---|---|---|---|",
    ]
    for name, corpus in found.items():
        report = corpus["calibration"]
        if report is None:
            lines.append(f"| {name} | | all | | defaults stay |")
            continue
        for part, entry in report["parts"].items():
            kept = "yes" if entry["kept"] else "no"
            lines.append(
                f"| {name} | {report['data']['judged']} | {part} | {kept} | {entry['reason']} |"
            )
    lines += ["", *_head("nDCG@10 first stage, raw order, always reranked, policy")]
    for name, corpus in found.items():
        report = corpus["calibration"]
        if report is None:
            continue
        for which, numbers in (("calibrated, held out", report["held_out"]), *_in_place(report)):
            order = numbers["order"]["ndcg10"]
            keys = ("first_stage", "raw_order", "always_reranked", "policy")
            quality = ", ".join(_three(order[k]) for k in keys)
            lines.append(_row(name, numbers["order"]["n"], which, quality, numbers))
    return "\n".join(lines) + "\n"


def _in_place(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    old = report["in_place"]
    return [] if old is None else [(f"{old['policy']}, fitted here", old)]


def markdown(whole: Mapping[str, Any]) -> str:
    """One table, and what to know before reading it."""
    split = whole["split"]
    changed = whole["changed_code"]
    state = f"commit {', '.join(whole['commits'])}" + (
        f" with changes in {', '.join(changed)}" if changed else ""
    )
    lines = [
        f"# The final run: {split} splits, read once",
        "",
        f"`{whole['command']}`, rankgate {whole['version']}, {state}, seed {whole['seed']}, "
        f"{whole['date']}, {whole['hardware']}.",
        "",
        "Each corpus was calibrated on its dev split. Its "
        f"{split} split was then read in one run, under the calibrated policy and under the "
        "default one; nothing was changed afterwards. Brackets are 95% intervals: over document "
        "groups for nDCG@10 and loss, exact for shares.",
        "",
        *_head("verdict", "nDCG@10 first stage", "tuned first stage", "always reranked", "policy"),
    ]
    for name, corpus in whole["corpora"].items():
        seen = corpus.get(split)
        if seen is None:
            continue
        for which, policy in seen["policies"].items():
            evaluation = policy["evaluation"]
            arms = [
                _estimate(evaluation["arms"][arm]["ndcg@10"])
                for arm in ("first_stage", "tuned_first_stage", "rerank", "policy")
            ]
            quality = " | ".join([evaluation["verdict"].replace("_", " "), *arms])
            lines.append(_row(name, evaluation["n"], which, quality, policy["strata"]["clean"]))
            for noise, numbers in policy["strata"].items():
                if noise != "clean":
                    lines.append(_noisy(name, noise, which, numbers))
    lines += ["", "What is counted:", "", *_WORDS, "", "Before drawing conclusions:", ""]
    lines += [f"- {note}" for note in _notes(whole)]
    for note in whole.get("noted_afterwards", ()):
        lines.append(f"- Noted afterwards, no number changed: {note}")
    lines += ["", "Why each verdict:", ""]
    for name, corpus in whole["corpora"].items():
        for which, policy in corpus.get(split, {"policies": {}})["policies"].items():
            reasons = " ".join(policy["evaluation"]["reasons"])
            lines.append(f"- {name}, {which}: {reasons}")
    lines += ["", "What calibration on dev kept:", ""]
    for name, corpus in whole["corpora"].items():
        report = corpus["calibration"]
        if report is None:
            lines.append(f"- {name}: nothing was fitted; the defaults stay.")
            continue
        for part, entry in report["parts"].items():
            kept = "kept" if entry["kept"] else "left out"
            lines.append(f"- {name}, {part}: {kept}; {entry['reason']}.")
    return "\n".join(lines) + "\n"


_WORDS = (
    "- *Skipped*: answerable questions that the gate kept from the reranker.",
    "- *Lost*: mean nDCG@10 over all answerable questions that skipping cost against always "
    "reranking under the same policy; below zero it gained.",
    "- *False refusals*: of the questions whose passage was among the 50 candidates.",
    "- *False answers*: unanswerable questions that were answered. `removed`: the corpus's own "
    "questions with their passages and near-duplicates taken out of the index. `foreign`: "
    "questions of the other corpora. `by people`: mtrag's questions that a person found "
    "unanswerable in this corpus, the hard ones.",
)


def _notes(whole: Mapping[str, Any]) -> list[str]:
    missing = whole["missing"]
    notes = [f"Not read yet: {', '.join(missing)}."] if missing else []
    notes += [
        "The encoder was pretrained on pairs that include SQuAD (xquad-en), Natural Questions "
        "(nq-oracle) and S2ORC (near pubmedqa and covid-qa), so what is built on it looks better "
        "there than on your documents. medquad, cranfield and the noisy questions are cleaner.",
        "The default policy was fitted on the dev splits of all of these but cranfield. The "
        "questions here are others, the kind of corpus is not.",
        "cranfield: the licence is unclear, so nothing is fitted on it, and its 52 dev questions "
        "would be too few; the defaults stay.",
        "The floor's bound is exact, so on few dev questions it allows few refusals, and the "
        "floor is laxer than the 5% that was asked for. It holds for questions like those it was "
        "fitted on: not for the same questions with typing or speech errors.",
    ]
    for name, corpus in whole["corpora"].items():
        seen = corpus.get(whole["split"])
        if seen is not None and seen["judged"] < seen["judged_in_split"]:
            notes.append(
                f"{name}: {seen['judged']} of {seen['judged_in_split']} questions, evenly drawn "
                "by a hash of their ids."
            )
    return notes


def _head(*quality: str) -> list[str]:
    cells = [
        "corpus",
        "n",
        "policy",
        *quality,
        "skipped",
        "lost",
        "false refusals",
        "false answers, removed",
        "foreign",
        "by people",
    ]
    return ["| " + " | ".join(cells) + " |", "|---" * len(cells) + "|"]


def _row(name: str, n: int, which: str, quality: str, numbers: Mapping[str, Any]) -> str:
    gate, floor = numbers["gate"], numbers["floor"]
    answers = floor["false_answers"]
    cells = [
        name,
        str(n),
        which,
        quality,
        _share(gate["skip_rate"]),
        _loss(gate["loss"]),
        _share(floor["false_refusals"]["served"]),
        _stratum(answers, "removed"),
        _stratum(answers, "foreign"),
        _stratum(answers, "unanswerable"),
    ]
    return "| " + " | ".join(cells) + " |"


def _noisy(name: str, noise: str, which: str, numbers: Mapping[str, Any]) -> str:
    order = numbers["order"]["ndcg10"]
    quality = " | ".join(
        [
            "-",
            _three(order["first_stage"]),
            "-",
            _three(order["always_reranked"]),
            _three(order["policy"]),
        ]
    )
    return _row(f"{name}, {noise}", numbers["order"]["n"], which, quality, numbers)


def _stratum(answers: Mapping[str, Any], prefix: str) -> str:
    inside = [v["served"] for k, v in answers.items() if k.split(":")[0] == prefix]
    if not inside:
        return "-"
    return _share(share(sum(v["count"] for v in inside), sum(v["n"] for v in inside)))


def _share(found: Mapping[str, Any]) -> str:
    if found["share"] is None:
        return "-"
    low, high = found["interval"]
    return f"{found['share']:.1%} [{low:.1%}, {high:.1%}] of {found['n']}"


def _loss(found: Mapping[str, Any]) -> str:
    span = found["interval"]
    tail = "" if span is None else f" [{span[0]:+.4f}, {span[1]:+.4f}]"
    return f"{found['mean']:+.4f}{tail}"


def _estimate(found: Mapping[str, Any]) -> str:
    span = found["ci"]
    tail = "" if span is None else f" [{_three(span[0])}, {_three(span[1])}]"
    return f"{_three(found['mean'])}{tail}"


def _three(value: float) -> str:
    return f"{value:.3f}"
