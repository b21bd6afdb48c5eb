"""Times each scorer on 50 real passages, side by side in one run.

    python benchmarks/scorers.py --data ../shared/data --out eval/results/scorers

The cross-encoder has all-MiniLM-L6-v2's body and an untrained head: what it costs is what a
cross-encoder of that size costs, what it says means nothing and is not looked at. Scorers take
turns, round by round, so that a machine whose speed drifts harms all of them alike.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rankgate.encoders import TokenEncoder, TokenStore, find_minilm
from rankgate.scorers import CrossEncoderScorer, LateInteractionScorer, OnnxScorer, RemoteScorer
from rankgate_eval.data.dataset import Dataset

ROOT = Path(__file__).resolve().parents[1]


sys.path.insert(0, str(ROOT / "tests" / "core"))  # the ONNX export, the strict loopback server


def helper(name: str) -> Any:
    """A helper module of the tests."""
    return importlib.import_module(name)


def cross_encoder_folder(folder: Path) -> Path:
    """A cross-encoder of MiniLM's size, saved in fp32, exported, and quantised to int8."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = str(find_minilm().folder)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, local_files_only=True
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)
    helper("tiny_models").export_onnx(folder)
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        folder / "model.onnx", folder / "model_quantized.onnx", weight_type=QuantType.QInt8
    )
    return folder


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    data = Dataset.load(args.data / "mtrag")
    query = data.queries[data.judged("dev")[0]]
    texts = list(data.corpus.values())[:50]
    with tempfile.TemporaryDirectory() as name:
        folder = cross_encoder_folder(Path(name) / "ce")
        encoder = TokenEncoder.load()
        store = TokenStore(
            Path(name) / "tokens.sqlite", encoder=encoder.sha256, dimension=encoder.dimension
        )
        store.put_many(dict(zip(texts, encoder.encode(texts), strict=True)))
        server = helper("rerank_servers").RerankServer("cohere")
        scorers: dict[str, Any] = {
            "late interaction, tokens stored": LateInteractionScorer.load(token_store=store),
            "late interaction, on the fly": LateInteractionScorer.load(),
            "cross-encoder, torch fp32": CrossEncoderScorer(folder, max_length=256),
            "cross-encoder, ONNX fp32": OnnxScorer(folder, file="model.onnx", max_length=256),
            "cross-encoder, ONNX dynamic int8": OnnxScorer(
                folder, file="model_quantized.onnx", max_length=256
            ),
            "remote (Cohere dialect, loopback)": RemoteScorer(
                server.url, dialect="cohere", model="tiny-reranker", api_key="k"
            ),
        }
        spent: dict[str, list[float]] = {label: [] for label in scorers}
        stats: dict[str, Any] = {}
        for number in range(args.rounds + 1):
            for label, scorer in scorers.items():
                gc.collect()
                begun = time.perf_counter()
                scores = scorer.score(query, texts)
                elapsed = (time.perf_counter() - begun) * 1000.0
                stats[label] = scores.stats
                if number:  # the first round warms up
                    spent[label].append(elapsed)
            print(f"round {number}/{args.rounds}", file=sys.stderr)
        server.close()
        store.close()
    base = np.array(spent["cross-encoder, torch fp32"])
    rows = {
        label: {
            "ms_p50": round(float(np.median(v)), 1),
            "ms_min": round(min(v), 1),
            "ms_max": round(max(v), 1),
            "ratio_to_torch_cross_encoder_p50": round(float(np.median(np.array(v) / base)), 3),
            "tokens": stats[label].tokens,
            "truncated": stats[label].truncated,
        }
        for label, v in spent.items()
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "command": f"python benchmarks/scorers.py --rounds {args.rounds}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "n": f"{args.rounds} rounds, 50 passages of mtrag",
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine, CPU only",
        "rows": rows,
    }
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
