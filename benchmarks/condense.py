"""What follow-up questions find: the last turn alone, the whole history, and the rule.

The conversations are mtRAG's; the first stage is the application's own, with the default policy's
fusion. The rule was chosen on the dev part; the test part is read with `--split test`. Questions
of another corpus, asked as the last turn of these conversations, show whether a refusal survives
what was said before.

python benchmarks/condense.py --data DATA --cache CACHE --split dev --out eval/results/condense
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from corpus_index import CorpusIndex
from question_runs import difference, first_stage, options, write_part

from rag_app.ask.condense import Exchange, condense, history_of
from rag_app.ask.first_stage import AlsoSearched, HybridFirstStage
from rag_app.ask.searched import Searched
from rag_app.ask.standalone import stands_alone
from rag_app.generate.answer import is_refusal
from rag_app.generate.sentences import clean
from rankgate import Reranker
from rankgate.encoders import TokenEncoder, TokenStore
from rankgate.scorers import LateInteractionScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.stats.significance import bootstrap_interval

Wording = Callable[[str, Sequence[Exchange]], Searched]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A last question with what was said before."""

    id: str
    question: str
    history: tuple[Exchange, ...]
    relevant: frozenset[str]
    answerability: str


def last_turn(question: str, history: Sequence[Exchange]) -> Searched:
    """The question alone."""
    return Searched.plain(question)


def whole_history(question: str, history: Sequence[Exchange]) -> Searched:
    """Everything that was said, the newest first: the encoder's window ends at the oldest."""
    said = [t for e in reversed(history) for t in (e.answer, e.question)]
    text = " ".join([question, *said])
    return Searched(question=question, scored=text, told=question)


def three_turns(question: str, history: Sequence[Exchange]) -> Searched:
    """The last three turns together, whatever the question is: the earlier rule."""
    if not history:
        return Searched.plain(question)
    before = [clipped(e.question, 60) for e in reversed(history[-2:])]
    answer = history[-1].answer
    answered = [clipped(answer, 80)] if answer and not is_refusal(answer) else []
    text = " ".join([question, *before])
    made = Searched(question=question, scored=text, told=question, by="rule")
    return made.with_also(
        AlsoSearched(text=" ".join([question, before[0], *answered]), weight=0.5),
        AlsoSearched(text=question, weight=0.5),
    )


def clipped(text: str, words: int) -> str:
    """At most so many words."""
    return " ".join(clean(text).split()[:words])


ARMS: dict[str, Wording] = {
    "last turn": last_turn,
    "whole history": whole_history,
    "three turns": three_turns,
    "rule": condense,
}
METRICS = ("recall5", "recall50", "after5", "ndcg5")


def cases_of(folder: Path, split: str) -> list[Case]:
    """The conversations of one part."""
    relevant: dict[str, set[str]] = {}
    for line in (folder / "conversations-qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, passage, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(passage)
    found = []
    for line in (folder / "conversations.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != split:
            continue
        said = [(t["role"], t["text"]) for t in row["turns"]]
        found.append(
            Case(
                id=row["_id"],
                question=said[-1][1],
                history=history_of(said[:-1]),
                relevant=frozenset(relevant.get(row["_id"], ())),
                answerability=row["answerability"],
            )
        )
    return found


def recall(found: Sequence[str], relevant: frozenset[str], depth: int) -> float:
    """Share of the relevant passages among the first."""
    return len(relevant.intersection(found[:depth])) / len(relevant)


def ndcg(found: Sequence[str], relevant: frozenset[str], depth: int) -> float:
    """Normalised discounted cumulative gain, with equal gains."""
    gains = [1.0 / np.log2(i + 2) for i, p in enumerate(found[:depth]) if p in relevant]
    ideal = [1.0 / np.log2(i + 2) for i in range(min(depth, len(relevant)))]
    return float(sum(gains) / sum(ideal))


def foreign_cases(cases: Sequence[Case], folder: Path, split: str, n: int) -> list[Case]:
    """Follow-ups whose question is one of another corpus: nothing here answers it."""
    other = Dataset.load(folder)
    asked = [other.queries[q] for q in other.query_ids(split)]
    order = np.random.default_rng(0).permutation(len(asked))
    follow_ups = [c for c in cases if len(c.history) >= 2][:n]
    return [
        replace(c, question=asked[int(i)], relevant=frozenset(), answerability="foreign")
        for c, i in zip(follow_ups, order, strict=False)
    ]


def measured(
    arm: Wording, cases: Sequence[Case], stage: HybridFirstStage, reranker: Reranker
) -> dict[str, list[float]]:
    """Each case's numbers; recall only where something is relevant."""
    rows: dict[str, list[float]] = {n: [] for n in (*METRICS, "refused")}
    for case in cases:
        searched = arm(case.question, case.history)
        found: list[Candidate] = stage.candidates(searched.scored, 50, searched.also)
        outcome = reranker.rerank(searched.scored, found)
        rows["refused"].append(float(outcome.refused))
        if case.relevant:
            before = [c.id for c in found]
            after = [p.candidate.id for p in outcome.passages]
            rows["recall5"].append(recall(before, case.relevant, 5))
            rows["recall50"].append(recall(before, case.relevant, 50))
            rows["after5"].append(recall(after, case.relevant, 5))
            rows["ndcg5"].append(ndcg(after, case.relevant, 5))
    return rows


def summary(
    rows: Mapping[str, dict[str, list[float]]],
    foreign: Mapping[str, dict[str, list[float]]],
    cases: Sequence[Case],
    clusters: Sequence[str],
) -> dict[str, Any]:
    """Means with intervals, and the rule's differences."""
    unanswerable = [i for i, c in enumerate(cases) if c.answerability == "unanswerable"]
    judged = [i for i, c in enumerate(cases) if c.relevant]
    alone = foreign["last turn"]["refused"]
    arms: dict[str, Any] = {}
    for name, row in rows.items():
        arms[name] = {}
        for metric in METRICS:
            low, high = bootstrap_interval(row[metric], clusters=clusters, seed=0)
            arms[name][metric] = [round(float(np.mean(row[metric])), 4), low, high]
        for label, which in (("refused_judged", judged), ("refused_unanswerable", unanswerable)):
            arms[name][label] = round(float(np.mean([row["refused"][i] for i in which])), 4)
        undone = sum(a > r for a, r in zip(alone, foreign[name]["refused"], strict=True))
        arms[name]["foreign_undone"] = [undone, int(sum(alone))]
    differences = {}
    for other in rows:
        if other == "rule":
            continue
        for metric in METRICS:
            differences[f"rule - {other}, {metric}"] = difference(
                rows[other][metric], rows["rule"][metric], clusters
            )
        differences[f"rule - {other}, refused, unanswerable"] = difference(
            [rows[other]["refused"][i] for i in unanswerable],
            [rows["rule"]["refused"][i] for i in unanswerable],
            [cases[i].id.partition("<")[0] for i in unanswerable],
        )
    return {"arms": arms, "differences": differences}


def markdown(result: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# Follow-up questions",
        "",
        f"Made with `{result['command']}` at {result['commit']}, seed 0, on {result['hardware']}.",
        "mtRAG's conversations, first stage of the application (dense and BM25, RRF), recall with",
        "95% intervals (cluster bootstrap over document groups; over conversations for the",
        "unanswerable). *After* and *nDCG@5* are recall@5 and nDCG@5 after the default policy's",
        "reranking. *Refused* are shares of questions: with a relevant passage, and those that",
        "people called unanswerable. *Undone*: of xquad-en's questions (dev) that are refused",
        "alone, those that are answered as the third or a later turn of these conversations.",
        "*Three turns* is the earlier rule: the last three together, whatever the question is.",
    ]
    for split, part in result["splits"].items():
        note = "chosen on this part" if split == "dev" else "read once for this rule"
        lines += [
            "",
            f"## {split}: {part['n']} questions with a relevant passage ({note})",
            "",
            f"{part['clusters']} document groups, {part['follow_ups']} follow-ups, "
            f"{part['standing_alone']} of which stand alone by the rule; {part['unanswerable']} "
            f"unanswerable questions; {part['foreign']} foreign ones.",
            "",
            "| searched | recall@5 | recall@50 | after | nDCG@5 | refused | refused, unanswerable "
            "| undone |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, row in part["arms"].items():
            cells = [f"{row[m][0]:.3f} ({row[m][1]:.3f} to {row[m][2]:.3f})" for m in METRICS]
            cells += [f"{row['refused_judged']:.3f}", f"{row['refused_unanswerable']:.3f}"]
            cells.append("{} of {}".format(*row["foreign_undone"]))
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += ["", "| difference | mean | 95% interval | p |", "|---|---|---|---|"]
        for name, row in part["differences"].items():
            span = f"{row['low']:+.3f} to {row['high']:+.3f}"
            lines.append(f"| {name} | {row['mean']:+.3f} | {span} | {row['p']:.4f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure one part and write it beside what the file has of the other."""
    parser = options(__doc__)
    parser.add_argument("--foreign", default="xquad-en", help="corpus of the foreign questions")
    parser.add_argument("--foreign-questions", type=int, default=120, help="at most so many")
    args = parser.parse_args()
    encoder = TokenEncoder.load()
    corpus = CorpusIndex(Dataset.load(args.data / "mtrag"), args.cache, encoder)
    cases = cases_of(args.data / "mtrag", args.split)
    judged = [c for c in cases if c.relevant]
    # Always of their dev part: they are no test of anything but refusing.
    asked = foreign_cases(cases, args.data / args.foreign, "dev", args.foreign_questions)
    groups = document_groups([c.id for c in judged], {c.id: c.relevant for c in judged})
    clusters = [groups[c.id] for c in judged]
    stage = first_stage(corpus)
    with tempfile.TemporaryDirectory() as folder:
        store = TokenStore(
            Path(folder) / "tokens.sqlite", encoder=encoder.sha256, dimension=encoder.dimension
        )
        texts = [corpus.data.corpus[i] for i in corpus.ids]
        store.put_many(dict(zip(texts, corpus.vectors, strict=True)))
        reranker = Reranker(
            LateInteractionScorer.load(token_store=store),
            first_stage=FirstStageKind.HYBRID,
            lexicon=corpus.bm25.lexicon,
        )
        rows, foreign = {}, {}
        for name, arm in ARMS.items():
            print(name, file=sys.stderr)
            rows[name] = measured(arm, cases, stage, reranker)
            foreign[name] = measured(arm, asked, stage, reranker)
    part = summary(rows, foreign, cases, clusters)
    part |= {
        "n": len(judged),
        "clusters": len(set(clusters)),
        "follow_ups": sum(bool(c.history) for c in judged),
        "standing_alone": sum(bool(c.history) and stands_alone(c.question) for c in judged),
        "foreign": len(asked),
        "unanswerable": sum(c.answerability == "unanswerable" for c in cases),
    }
    write_part(args.out, "condense.py", args.split, part, markdown)


if __name__ == "__main__":
    main()
