"""Fine-tunes a cross-encoder with sentence-transformers' trainer, on our lists and by our looks.

Importing this needs torch, sentence-transformers, accelerate and datasets (extra `train`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset  # type: ignore[import-untyped]
from sentence_transformers import CrossEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss

from rankgate.encoders.encoder import without_progress_bar
from rankgate.errors import ConfigError, ModelNotFoundError
from rankgate_eval.train.course import Report, RunFolder, TrainingResult
from rankgate_eval.train.lists import ListBuilder, TrainingList, all_lists, held_out_lists
from rankgate_eval.train.looks import DevSet, Score
from rankgate_eval.train.plan import TrainingPlan
from rankgate_eval.train.trainer import Course, arguments, look_at, run_course

# Softmax over such labels is one for the passage that answers: the list loss of `trainer`.
_ANSWERS, _NOT, _OPEN, _DOUBTED = 40.0, 0.0, -1.0, -2.0


def load_cross_encoder(
    start: str, *, max_length: int | None = None, device: str = "cpu", allow_hub: bool = False
) -> CrossEncoder:
    """The cross-encoder that training starts from.

    Args:
        start: its folder, or its name on the hub.
        max_length: tokens of query and passage together; None: 256, or the model's limit.
        device: `cpu`, `cuda`, ...
        allow_hub: whether the Hugging Face hub may be asked.

    Raises:
        ModelNotFoundError: nothing there.
        ConfigError: no cross-encoder, more than one output, or max_length beyond what it reads.
    """
    if start in ("minilm", "bundled"):
        raise ConfigError(
            f"--method full trains a cross-encoder, and {start} is none. Name one with --start, "
            "by folder or, with --allow-hub, from the hub "
            "(cross-encoder/ms-marco-MiniLM-L-6-v2); or take --method query, which starts from "
            f"{start} and needs fewer questions."
        )
    folder = Path(start)
    config = folder / "config.json"
    if config.is_file():
        names = json.loads(config.read_text("utf-8")).get("architectures") or ()
        if not any("SequenceClassification" in name for name in names):
            raise ConfigError(
                f"{folder} holds no cross-encoder but {', '.join(names) or 'something else'}: its "
                "head would have to be learned from nothing. Start from a cross-encoder."
            )
    try:
        with without_progress_bar():
            model = CrossEncoder(
                start,
                device=device,
                local_files_only=folder.is_dir() or not allow_hub,
                activation_fn=torch.nn.Identity(),
                model_kwargs={"dtype": torch.float32},
            )
    except (OSError, ValueError) as exc:
        raise ModelNotFoundError(
            f"no cross-encoder at {start}: {exc}. Give the folder of a saved one, or a hub name "
            "with --allow-hub."
        ) from exc
    if model.num_labels != 1:
        raise ConfigError(
            f"{start} has {model.num_labels} outputs a pair; a reranker needs exactly one"
        )
    limit = int(model.config.max_position_embeddings)
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        limit -= 2  # their position ids begin behind the padding id
    wanted = min(256, limit) if max_length is None else max_length
    if not 8 <= wanted <= limit:
        raise ConfigError(f"max_length must be within 8..{limit} for {start}, got {wanted}")
    model.max_seq_length = wanted
    return model


def scores_of(model: CrossEncoder) -> Score:
    """What `CrossEncoderScorer` gives with this model: raw logits."""

    def score(query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        pairs = [(query, text) for text in texts]
        values = model.predict(pairs, show_progress_bar=False, activation_fn=torch.nn.Identity())
        return np.asarray(values, dtype=np.float32).reshape(-1)

    return score


class ChoosingLoss(ListNetLoss):  # type: ignore[misc]
    """ListNet, for which the model first chooses the hardest negatives of a list that is open.

    A passage that it puts above the answer, and that dense or BM25 puts there too, is likely
    relevant and left out: two of three rankers agree.

    Raises:
        ConfigError: the loss is not finite.
    """

    def __init__(self, model: CrossEncoder, *, negatives: int) -> None:
        super().__init__(model, mini_batch_size=-1)
        self.negatives = negatives

    def forward(
        self, inputs: list[Any], labels: list[torch.Tensor], **options: Any
    ) -> torch.Tensor:
        """Mean over lists of -log softmax of the passage that answers."""
        queries, listed = inputs
        kept = [
            self._chosen(query, texts, marks.tolist())
            for query, texts, marks in zip(queries, listed, labels, strict=True)
        ]
        texts = [[text for text, _ in one] for one in kept]
        marks = [torch.tensor([mark for _, mark in one]) for one in kept]
        loss: torch.Tensor = super().forward([queries, texts], marks, **options)
        if not bool(torch.isfinite(loss)):
            raise ConfigError(
                f"the loss is {float(loss)}: lower the learning rate (--lr), or train in float32 "
                "(--no-bf16)"
            )
        return loss

    def _chosen(
        self, query: str, texts: Sequence[str], marks: Sequence[float]
    ) -> list[tuple[str, float]]:
        listed = list(zip(texts, marks, strict=True))
        fixed = [(t, m) for t, m in listed if m >= _NOT]
        open_ = [(t, m) for t, m in listed if m < _NOT]
        if not open_:
            return fixed
        training = self.model.training
        values = scores_of(self.model)(query, [fixed[0][0], *(t for t, _ in open_)])
        self.model.train(training)
        fit = [
            open_[i][0]
            for i in np.argsort(-values[1:], kind="stable")
            if not (open_[i][1] == _DOUBTED and values[1 + i] > values[0])
        ]
        return [fixed[0], *((t, _NOT) for t in fit[: self.negatives]), *fixed[1:]]


class _Looks(BaseEvaluator):  # type: ignore[misc]
    """Looks at dev."""

    def __init__(self, dev: DevSet, report: Report) -> None:
        super().__init__()
        self._dev = dev
        self._report = report

    def __call__(self, model: CrossEncoder, *args: Any, **given: Any) -> dict[str, float]:
        return look_at(self._dev, scores_of(model), self._report)


class _InOrder(DefaultBatchSampler):  # type: ignore[misc]
    """Batches in the order of the rows: what is drawn is drawn by the plan of the epochs."""

    def __init__(self, dataset: Dataset, batch_size: int, drop_last: bool, **more: Any) -> None:
        order = torch.utils.data.SequentialSampler(dataset)
        super().__init__(order, batch_size=batch_size, drop_last=drop_last, **more)


class _Trainer(CrossEncoderTrainer):  # type: ignore[misc]
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the run has a card of its own, and this one would ask the hub."""


def _rows(builder: ListBuilder, lists: Sequence[TrainingList]) -> Dataset:
    """Lists as the loss takes them: question, passages, and what each passage is."""
    marks = []
    for one in lists:
        doubted = builder.mined[one.corpus][one.query_id].doubted
        open_ = [_DOUBTED if p in doubted else _OPEN for p in one.passage_ids[1 : 1 + one.open]]
        marks.append([_ANSWERS, *open_, *[_NOT] * (len(one.passage_ids) - 1 - one.open)])
    return Dataset.from_dict(
        {
            "query": [one.query for one in lists],
            "docs": [list(one.texts) for one in lists],
            "label": marks,
        }
    )


def train_cross_encoder(
    model: CrossEncoder,
    plan: TrainingPlan,
    *,
    folder: RunFolder,
    resume: bool = False,
    bfloat16: bool = False,
    time_limit: float | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train a cross-encoder, whose weights are changed, by the plan; see `trainer.run_course`.

    A prior is not for cross-encoders; `bfloat16` computes in bfloat16 under autocast.

    Raises:
        ConfigError: a batch that micro batches do not fill, or a loss that is not finite.
    """
    builder, say = plan.builder, report or (lambda *_: None)
    s = builder.settings
    if s.batch % s.micro_batch:
        raise ConfigError(
            f"the batch, {s.batch} lists, must be a multiple of the micro batch, {s.micro_batch}"
        )
    lists = all_lists(builder, plan.questions)
    steps = -(-len(lists) // s.batch)
    on_cpu = model.device.type == "cpu"

    def make(course: Course, begun: bool) -> _Trainer:
        return _Trainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                **arguments(s, folder, steps, begun=begun),
                per_device_train_batch_size=s.micro_batch,
                gradient_accumulation_steps=s.batch // s.micro_batch,
                warmup_steps=max(1, round(s.warmup * steps)),
                weight_decay=s.weight_decay,
                batch_sampler=_InOrder,
                bf16=bfloat16,
                use_cpu=on_cpu,
                dataloader_pin_memory=not on_cpu,
            ),
            train_dataset=_rows(builder, lists),
            eval_dataset=_rows(builder, held_out_lists(builder, plan.held_out)),
            loss=ChoosingLoss(model, negatives=s.negatives),
            evaluator=_Looks(plan.dev, say),
            callbacks=[course],
        )

    return run_course(
        make,
        lambda best: model.save_pretrained(str(best), create_model_card=False),
        settings=s,
        folder=folder,
        resume=resume,
        time_limit=time_limit,
        report=say,
        clock=clock,
    )
