"""Programs that are not ours, changed by one line: what the answerer gets to read, and when.

A retrieval chain and an agent in the structure of LangChain's tutorials, a query engine in that
of LlamaIndex's, over a Chroma store of a real corpus; the language model is scripted and costs
nothing. Each runs with its own retriever and with ours, query by query in turn. Dev queries only;
the default policy was fitted on a sample of the dev splits, this corpus's among them.

python benchmarks/drop_in.py --out eval/results/drop_in
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from langchain.agents import create_agent
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import create_retriever_tool
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.llms import MockLLM

sys.path.insert(0, str(Path(__file__).parent))
from parity import LangChainVectors, Sample, arguments, langchain_store, llama_index, provenance

from langchain_rankgate import RankGateRetriever
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.run.metrics import measure
from rankgate_eval.stats.significance import compare

TOP_N = 5
NAMES = ("ndcg@5", "recall@5")
Program = Callable[[str], list[str]]


class Scripted(BaseChatModel):
    """Asks for the tool once, if it has one, and then answers."""

    has_tools: bool = False

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:  # type: ignore[override]
        """Knows that there are tools."""
        return Scripted(has_tools=True)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        message = AIMessage("answer")
        if self.has_tools and not isinstance(messages[-1], ToolMessage):
            call = {"name": "search_papers", "args": {"query": messages[-1].text}, "id": "1"}
            message = AIMessage("", tool_calls=[{**call, "type": "tool_call"}])
        return ChatResult(generations=[ChatGeneration(message=message)])


def retrieval_chain(retriever: BaseRetriever) -> Program:
    """Question in, answer out; ids of the documents that the model read."""
    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {input}")
    chain = create_retrieval_chain(retriever, create_stuff_documents_chain(Scripted(), prompt))
    return lambda question: [d.id for d in chain.invoke({"input": question})["context"]]


def agent(retriever: BaseRetriever) -> Program:
    """The same of an agent that has the retriever as its tool."""
    tool = create_retriever_tool(
        retriever,
        "search_papers",
        "Search papers on COVID-19.",
        response_format="content_and_artifact",
    )
    graph = create_agent(Scripted(), [tool])

    def run(question: str) -> list[str]:
        state = graph.invoke({"messages": [{"role": "user", "content": question}]})
        return [d.id for m in state["messages"] if isinstance(m, ToolMessage) for d in m.artifact]

    return run


def query_engine(engine: BaseQueryEngine) -> Program:
    """The same of a LlamaIndex query engine."""
    return lambda question: [n.node.node_id for n in engine.query(question).source_nodes]


def programs(sample: Sample) -> dict[str, dict[str, Program]]:
    """Each with its own retriever and with ours; one line differs."""
    texts = [sample.data.corpus[i] for i in sample.index.ids]
    passages = dict(zip(texts, sample.index.pooled.astype(np.float32), strict=True))
    vectors = LangChainVectors(sample.encoder, passages)
    store = langchain_store(sample, "cosine", vectors)
    index = llama_index(sample, "cosine", vectors)
    theirs: Any = store.as_retriever(search_kwargs={"k": TOP_N})
    ours = RankGateRetriever.from_chroma(store, top_n=TOP_N, scorer=sample.scorer)
    # The default scorer as it comes: every passage is read anew.
    fresh = RankGateRetriever.from_chroma(store, top_n=TOP_N, scorer=LateInteractionScorer.load())
    rerank = LlamaRerank(top_n=TOP_N, chroma_space="cosine", scorer=sample.scorer)
    return {
        "LangChain retrieval chain": {
            "without": retrieval_chain(theirs),
            "with": retrieval_chain(ours),
            "fresh": retrieval_chain(fresh),
        },
        "LangChain agent": {"without": agent(theirs), "with": agent(ours)},
        "LlamaIndex query engine": {
            "without": query_engine(index.as_query_engine(similarity_top_k=TOP_N, llm=MockLLM())),
            "with": query_engine(
                index.as_query_engine(
                    similarity_top_k=50, node_postprocessors=[rerank], llm=MockLLM()
                )
            ),
        },
    }


def timed(program: Program, question: str) -> tuple[list[str], float, float]:
    """Its documents, and milliseconds from question to answer: wall clock and CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = program(question)
    return found, (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def compared(sample: Sample, arms: Mapping[str, Program], fresh: int, seed: int) -> dict[str, Any]:
    """Ranking and latency with and without."""
    for arm in arms.values():  # models are loaded, pages are touched
        arm(sample.queries[0])
    found: dict[str, dict[str, list[str]]] = {name: {} for name in arms}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for n, (identifier, question) in enumerate(zip(sample.ids, sample.queries, strict=True)):
        for name, arm in arms.items():
            if name == "fresh" and n >= fresh:
                continue
            found[name][identifier], wall, cpu = timed(arm, question)
            spent[name].append((wall, cpu))
    row: dict[str, Any] = {}
    for name, pairs in spent.items():
        wall_ms, cpu_ms = np.array(pairs).T
        row[name] = {
            "n": len(pairs),
            "p50_ms": round(float(np.percentile(wall_ms, 50)), 1),
            "p95_ms": round(float(np.percentile(wall_ms, 95)), 1),
            "p50_cpu_ms": round(float(np.percentile(cpu_ms, 50)), 1),
        }
    measured = {}
    for name in ("without", "with"):
        measured[name] = measure(sample.data.qrels, found[name], sample.ids, names=NAMES)
        row[name].update({m: round(float(measured[name].values[m].mean()), 4) for m in NAMES})
        row[name]["nothing_returned"] = sum(not ids for ids in found[name].values())
    clusters = [sample.data.groups[i] for i in measured["with"].query_ids]
    for metric in NAMES:
        before, after = (measured[name].values[metric] for name in ("without", "with"))
        d = compare(before, after, clusters, seed=seed)
        row[f"{metric}_gain"] = {"mean": d.mean, "low": d.low, "high": d.high, "p": d.p}
    return row


def main() -> None:
    """Measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--fresh", type=int, default=10, help="queries with nothing read before")
    args = parser.parse_args()
    sample = Sample.of(args)
    rows = {
        name: compared(sample, arms, args.fresh, args.seed)
        for name, arms in programs(sample).items()
    }
    result = {**provenance("drop_in", args, sample), "top_n": TOP_N, "rows": rows}
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


def table(result: Mapping[str, Any]) -> str:
    """The results for reading."""
    lines = [
        "# Programs that are not ours, changed by one line",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, n={result['n']} "
        f"queries, {result['corpus']}, policy {result['policy']}, {result['hardware']}.",
        "",
        f"What the language model gets to read: {result['top_n']} passages at most; a refused "
        "question, which gets none, counts 0. Dense retrieval by all-MiniLM-L6-v2 from Chroma, "
        "queries embedded in the call. Milliseconds from question to answer with a model that "
        "costs nothing, on a machine that others used at the same time; `with` has the passages' "
        "token vectors from a store, as after `rankgate ingest`.",
        "",
        "| program | nDCG@5 without | with | gain [95%] | recall@5 without | with | gain [95%] "
        "| nothing returned | p50 ms without | with | p95 ms without | with | p50 CPU ms without "
        "| with |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        a, b = row["without"], row["with"]
        cells = [name]
        for metric in NAMES:
            d = row[f"{metric}_gain"]
            gain = f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            cells += [f"{a[metric]:.3f}", f"{b[metric]:.3f}", gain]
        cells.append(str(b["nothing_returned"]))
        cells += [f"{x[q]:.0f}" for q in ("p50_ms", "p95_ms", "p50_cpu_ms") for x in (a, b)]
        lines.append("| " + " | ".join(cells) + " |")
    chain = next(row["fresh"] for row in result["rows"].values() if "fresh" in row)
    lines += [
        "",
        f"With nothing read before, the default scorer reads all candidates anew: p50 "
        f"{chain['p50_ms']:.0f} ms, of which {chain['p50_cpu_ms']:.0f} ms are CPU time (retrieval "
        f"chain, n={chain['n']}). Give it a token store, or a lighter scorer.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
