r"""Trains a sufficiency reader: what `sufficiency = "reader:FILE"` takes.

    python benchmarks/reader_data.py ../shared/data .cache/corpora .cache/reader.jsonl
    python benchmarks/reader.py --examples .cache/reader.jsonl --out .rankgate/reader

The first five layers of all-MiniLM-L6-v2 read question and passage together, point-wise: binary
cross-entropy for "answers", a three-way one for a statement, and where the answer's place is known
the share of evidence that lies there. A killed run goes on where it stopped. On a GPU where there
is one, in bfloat16 either way; the schedule runs over the time that is given, so less time means
fewer examples.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from reader_data import Example, read

from rankgate.encoders import TokenEncoder
from rankgate.encoders.bert import layer_shapes, read_tensors
from rankgate.encoders.reader import JointInput, joint_input, padded, reader_shape, save_reader
from rankgate_eval.train.query import torch_body

_BATCH = 16
_POOL = 50  # batches whose examples are sorted by length, so that little is padded
_WARM = 60
_RATES = {"body": 8e-5, "heads": 1e-3}
_POSITIVE = 2.0  # there are about three negatives to one of them
_SPAN = 0.3


class Reader(torch.nn.Module):
    """The layers, and the heads of `rankgate.encoders.reader`."""

    def __init__(self, body: Any, layers: int) -> None:
        super().__init__()
        self.embeddings, self.encoder = body.embeddings.requires_grad_(False), body.encoder
        self.encoder.layer = self.encoder.layer[:layers]
        width = body.config.hidden_size
        self.kinds = torch.nn.Parameter(torch.zeros(4, width))
        self.evidence = torch.nn.Parameter(torch.zeros(width))
        self.outputs = torch.nn.Parameter(torch.randn(4, 3 * width) * 0.01)
        self.bias = torch.nn.Parameter(torch.zeros(4))

    def forward(
        self, ids: torch.Tensor, kinds: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, 4) logits and (b, t) log-shares of evidence."""
        x = self.embeddings(ids) + self.kinds[kinds]
        bias = (mask[:, None, None, :] - 1.0) * 1e4
        h = self.encoder(x, attention_mask=bias.to(x.dtype)).last_hidden_state.float()
        scores = (h @ self.evidence).masked_fill(kinds < 2, -1e4)
        share = torch.log_softmax(scores, dim=1)
        mean = (h * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        found = torch.einsum("bt,btd->bd", share.exp(), h)
        pooled = torch.cat([h[:, 0], mean, found], dim=1)
        return pooled @ self.outputs.T + self.bias, share


def inputs(examples: Sequence[Example], encoder: TokenEncoder) -> list[JointInput]:
    """As they are read; the part with the answer, where it is known."""
    return [joint_input(encoder.tokenizer, e.first, e.passage, around=e.span) for e in examples]


def loss_of(
    model: Reader, batch: Sequence[tuple[Example, JointInput]], device: str
) -> torch.Tensor:
    """Mean over the batch."""
    ids, kinds, mask = (torch.from_numpy(a).to(device) for a in padded([i for _, i in batch]))
    with torch.autocast(device, dtype=torch.bfloat16):
        logits, share = model(ids, kinds, mask)
    total = torch.zeros((), device=device)
    for row, (e, i) in enumerate(batch):
        label = torch.tensor(e.label, device=device)
        if e.kind == "question":
            weight = _POSITIVE if e.label else 1.0
            total = total + weight * torch.nn.functional.binary_cross_entropy_with_logits(
                logits[row, 0], label.float()
            )
        else:
            total = total + torch.nn.functional.cross_entropy(logits[row, 1:], label)
        if e.span is not None:
            a, b = e.span
            inside = [i.first + t for t, (x, y) in enumerate(i.places) if x < b and y > a]
            if inside:
                total = total - _SPAN * torch.logsumexp(share[row, inside], dim=0)
    return total / len(batch)


def batches(read_as: Sequence[JointInput], seed: int) -> list[list[int]]:
    """Of like length, in an order by chance."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(read_as))
    found = []
    for start in range(0, len(order), _BATCH * _POOL):
        pool = sorted(
            order[start : start + _BATCH * _POOL].tolist(), key=lambda i: len(read_as[i].ids)
        )
        cut = [pool[i : i + _BATCH] for i in range(0, len(pool), _BATCH)]
        found += [cut[i] for i in rng.permutation(len(cut)).tolist()]
    return found


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="all runs together")
    parser.add_argument("--epochs", type=int, default=1, help="at most")
    parser.add_argument("--left-out", nargs="*", default=[], help="domains not learned from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    encoder = TokenEncoder.load()
    examples = [e for e in read(args.examples) if e.domain not in args.left_out]
    read_as = inputs(examples, encoder)
    plan = [b for n in range(args.epochs) for b in batches(read_as, args.seed + n)]
    model = Reader(torch_body(encoder), reader_shape(encoder).layers).to(device).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # one epoch: nothing is seen twice
    heads = [model.kinds, model.evidence, model.outputs, model.bias]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model.encoder.parameters()), "lr": _RATES["body"]},
            {"params": heads, "lr": _RATES["heads"]},
        ],
        weight_decay=0.01,
    )
    file = args.out / "checkpoint.pt"
    step, spent, losses = 0, 0.0, []
    if file.exists():
        kept = torch.load(file, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        step, spent, losses = kept["step"], kept["spent"], kept["losses"]
    begun, saved = time.perf_counter() - spent, time.perf_counter()
    while step < len(plan):
        spent = time.perf_counter() - begun
        done = max(step / len(plan), spent / 60.0 / args.minutes)
        if done >= 1.0:
            break
        rate = min(1.0, (step + 1) / _WARM) * (1.0 - done)
        for group, name in zip(optimizer.param_groups, _RATES, strict=True):
            group["lr"] = _RATES[name] * rate
        loss = loss_of(model, [(examples[i], read_as[i]) for i in plan[step]], device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        step += 1
        if step % 20 == 0:
            print(
                f"{step}/{len(plan)} {spent / 60:.1f} min loss {np.mean(losses[-100:]):.4f}",
                flush=True,
            )
        if time.perf_counter() - saved > 180.0:
            keep(model, optimizer, step, spent, losses, file)
            export(model, encoder, args.out)
            saved = time.perf_counter()
    keep(model, optimizer, step, spent, losses, file)
    sha256 = export(model, encoder, args.out)
    about = {"sha256": sha256, "steps": step, "of": len(plan), "minutes": round(spent / 60, 1),
             "examples": step * _BATCH, "left_out": args.left_out, "seed": args.seed,
             "device": device, "last_loss": round(float(np.mean(losses[-100:])), 4)}  # fmt: skip
    (args.out / "about.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    print(json.dumps(about))


def keep(
    model: Reader, optimizer: Any, step: int, spent: float, losses: list[float], file: Path
) -> None:
    """A checkpoint, whole or not at all."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
             "spent": spent, "losses": losses}  # fmt: skip
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)


def export(model: Reader, encoder: TokenEncoder, out: Path) -> str:
    """The file that ships; its sha256."""
    shapes = layer_shapes(reader_shape(encoder))
    layers = read_tensors(encoder.files.folder / "model.safetensors", shapes)
    tuned = {f"encoder.{n}": p.numpy(force=True) for n, p in model.encoder.state_dict().items()}
    heads = {
        n: getattr(model, n).numpy(force=True) for n in ("kinds", "evidence", "outputs", "bias")
    }
    changes = {n: tuned[n] - layers[n] for n in shapes}
    return save_reader(changes, heads, out / "reader.safetensors", encoder=encoder.sha256)


if __name__ == "__main__":
    torch.set_num_threads(1 if not torch.cuda.is_available() else 8)
    main()
