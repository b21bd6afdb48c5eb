"""The end-to-end result without a language model, on the dev splits and the golden set.

    python eval/golden/corpus.py --out build/golden
    python benchmarks/e2e_keyless.py --out eval/results/e2e_keyless

Answers are extractive; arms are the first stage, always reranking, and the default policy. Of
each result what is committed are counts, means and intervals; the questions whose context
changed stand with their texts in --work, because the corpora are not ours to republish.
mtRAG's standalone questions have no reference answers, so its conversations are asked instead,
by their last turn as it stands, without condensing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag_app.generate.factory import BareExtractive
from rankgate.encoders import TokenEncoder
from rankgate_eval.answers import (
    EndToEnd,
    LocalGenerator,
    Plan,
    Question,
    compare_answers,
    hand_over,
    questions_of,
)
from rankgate_eval.answers.questions import sample_questions
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.run.encoding import open_store
from rankgate_eval.run.evaluation import open_under_test
from rankgate_eval.verdict.provenance import git_state, hardware

CORPORA = ("covid-qa", "nq-oracle", "xquad-en", "mtrag")
_ANSWERABILITY = {"answerable": True, "partial": True, "unanswerable": False}


def mtrag_questions(folder: Path, split: str) -> list[Question]:
    """The last turns of mtRAG's conversations with their human answerability."""
    judged: dict[str, list[str]] = {}
    for line in (folder / "conversations-qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, passage, grade = line.split("\t")
        if int(grade) > 0:
            judged.setdefault(query, []).append(passage)
    found = []
    for line in (folder / "conversations.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != split:
            continue
        answerable = _ANSWERABILITY.get(row["answerability"])
        found.append(
            Question(
                id=row["_id"],
                text=row["turns"][-1]["text"],
                # Of an unanswerable question the "answer" is the human's refusal.
                references=(row["answer"],) if answerable and row["answer"] else (),
                answerable=answerable,
                relevant=tuple(judged.get(row["_id"], ())),
                # Turns of one conversation are about one thing.
                group=row["_id"].split("<::>")[0],
            )
        )
    return found


def measure(
    data: Dataset, questions: list[Question], args: argparse.Namespace, name: str
) -> EndToEnd:
    """One data set."""
    with open_under_test(data, cache=args.cache, tell=tell) as under:
        handed = hand_over(under.stage, data, questions, scorer=under.scorer, tell=tell)
        encoder = TokenEncoder.load()
        with contextlib.closing(open_store(args.cache, encoder)) as store:
            # The plug-in `extractive`, reading token vectors that are there already.
            writer = LocalGenerator(BareExtractive(encoder, token_store=store), name="extractive")
            return compare_answers(
                questions,
                handed.arms,
                generator=writer,
                plan=Plan(extractive=True, seed=args.seed),
                folder=args.work / name,
                skip_rate=handed.skip_rate,
                made={
                    "data": name,
                    "scorer": handed.scorer,
                    "policy": handed.policy.name,
                    "k": handed.k,
                    "top_n": handed.top_n,
                },
                tell=tell,
            )


def tell(what: str, done: int, total: int) -> None:
    """Progress on stderr."""
    if total > 1 and done % 50 == 0:
        print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """The committed Markdown."""
    lines = [
        "| data | n | policy - first stage: containment | token F1 | verdict | right refusals "
        "(first stage, policy) | wrong refusals (policy) | context changed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        cells = [name, str(found["n"])]
        change = found["differences"]["policy-first_stage"]
        for metric in ("containment", "token_f1"):
            d = change.get(metric)
            cells.append(
                "no pairs"
                if d is None
                else f"{d['mean']:+.3f} [{d['ci'][0]:+.3f}, {d['ci'][1]:+.3f}], n = {d['n']}"
            )
        before, after = (found["refusals"][a] for a in ("first_stage", "policy"))
        asked = after["right_refusal"] + after["answer_to_unanswerable"]
        wrong = after["wrong_refusal"] + after["answered"]
        cells += [
            found["verdict"],
            f"{before['right_refusal']}, {after['right_refusal']} of {asked}",
            f"{after['wrong_refusal']} of {wrong}",
            f"{found['contexts']['policy-first_stage']['changed']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Means by arm (n answered and judged):", ""]
    metrics = ("containment", "token_f1", "string_similarity", "context_precision_qrels")
    lines.append("| data | arm | " + " | ".join(metrics) + " |")
    lines.append("|---|---|" + "---|" * len(metrics))
    for name, found in results.items():
        for arm, row in found["arms"].items():
            cells = [
                "-" if row[m]["mean"] is None else f"{row[m]['mean']:.3f} (n {row[m]['n']})"
                for m in metrics
            ]
            lines.append(f"| {name} | {arm} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--golden", type=Path, default=Path("build/golden"))
    parser.add_argument("--only", nargs="*", default=[*CORPORA, "golden"])
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".rankgate/eval"))
    parser.add_argument("--work", type=Path, default=Path("build/e2e_keyless"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name in args.only:
        if name == "golden":
            data, _ = load_dataset(
                Path("eval/golden/questions.jsonl"), corpus=args.golden / "corpus.jsonl"
            )
            every = questions_of(data)
        else:
            data = Dataset.load(args.data / name)
            every = questions_of(data, "dev")
            if name == "mtrag":
                known = set(data.corpus)
                every = [
                    replace(q, relevant=tuple(p for p in q.relevant if p in known))
                    for q in mtrag_questions(args.data / name, "dev")
                ]
        limit = None if name == "golden" else args.limit
        questions = sample_questions(every, limit, seed=args.seed)
        result = measure(data, questions, args, name)
        result.save(args.work / name)
        section = result.to_dict()
        del section["changed"]
        for refused in section["refusals"].values():
            del refused["ids"]
        for row in (section["strata"] or {"rows": []})["rows"]:
            del row["losers"]
        section["of"] = len(every)
        results[name] = section
        commit, changed = git_state()
        made = {
            "command": f"python benchmarks/e2e_keyless.py --limit {args.limit} "
            f"--seed {args.seed} --out {args.out}",
            "commit": f"{commit} with changes" if changed else commit,
            "date": time.strftime("%Y-%m-%d"),
            "seed": args.seed,
            "hardware": hardware(),
        }
        # After each data set, so that a stopped run leaves what it has.
        args.out.with_suffix(".json").write_text(
            json.dumps({"made": made, "results": results}, indent=1) + "\n", "utf-8"
        )
        lines = [
            "# End to end without a language model",
            "",
            "Extractive answers on dev splits and the golden set: no language model wrote or "
            "judged anything here, and extractive answers are faithful by construction. What "
            "commercial models would make of the same contexts was not measured.",
            "",
            f"`{made['command']}`, commit {made['commit']}, seed {made['seed']}, {made['date']}, "
            f"{made['hardware']}. At most {args.limit} questions a data set, drawn at random; "
            "95% intervals over document groups.",
            "",
            *table(results),
        ]
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")
        print(f"{name}: {section['verdict']}; {section['reasons'][0]}", file=sys.stderr)


if __name__ == "__main__":
    main()
