"""Fine-tunes a cross-encoder with sentence-transformers' trainer, on our lists and by our looks.

Importing this needs torch, sentence-transformers, accelerate and datasets (extra `train`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
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
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from rankgate.encoders.encoder import without_progress_bar
from rankgate.errors import ConfigError, ModelNotFoundError
from rankgate_eval.train.course import HistoryPoint, Report, RunFolder, TrainingResult
from rankgate_eval.train.lists import ListBuilder, TrainingList, epoch_lists
from rankgate_eval.train.looks import DevSet, Score
from rankgate_eval.train.settings import TrainingSettings

__all__ = ["ChoosingLoss", "load_cross_encoder", "scores_of", "train_cross_encoder"]

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

    Args:
        model: the cross-encoder.
        negatives: how many it chooses.

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
    """nDCG@10 of the policy's order on the half of dev that chooses the step."""

    def __init__(self, dev: DevSet, report: Report) -> None:
        super().__init__()
        self._dev = dev
        self._report = report

    def __call__(
        self,
        model: CrossEncoder,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        look = self._dev.look(
            scores_of(model), progress=lambda d, t: self._report("looking at dev", d, t)
        )
        return {"ndcg": look.ndcg, **{f"ndcg/{n}": v for n, v in look.by_corpus.items()}}


def _history(log: Sequence[Mapping[str, Any]]) -> list[HistoryPoint]:
    """The looks in a trainer's log, which its checkpoints hold."""
    found: list[HistoryPoint] = []
    losses: list[float] = []  # one a step
    logged = 0
    for row in log:
        if "loss" in row:
            losses += [float(row["loss"])] * (int(row["step"]) - logged)
            logged = int(row["step"])
        if "eval_ndcg" in row:
            found.append(
                HistoryPoint(
                    step=int(row["step"]),
                    train_loss=float(np.mean(losses)) if losses else None,
                    held_out_loss=float(row["eval_loss"]),
                    ndcg=float(row["eval_ndcg"]),
                    by_corpus={
                        name.removeprefix("eval_ndcg/"): float(value)
                        for name, value in row.items()
                        if name.startswith("eval_ndcg/")
                    },
                )
            )
            losses = []
    return found


def _best(history: Sequence[HistoryPoint]) -> int:
    """Index of the best look, the first of equal ones."""
    return int(np.argmax([p.ndcg for p in history]))


class _Course(TrainerCallback):  # type: ignore[misc]
    """Keeps the best step, writes the history, and stops early or when the time is up."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        patience: int | None,
        late: Callable[[], bool],
        report: Report,
    ) -> None:
        self._folder = folder
        self._patience = patience
        self._late = late
        self._report = report
        self.stopped = "finished"

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        history = _history(state.log_history)
        self._folder.write_json("history.json", [asdict(point) for point in history])
        best = _best(history)
        if best == len(history) - 1:
            given["model"].save_pretrained(str(self._folder.best), create_model_card=False)
        # What was looked at is in a checkpoint: a resumed run does not look twice.
        control.should_save = True
        if self._patience is not None and len(history) - 1 - best >= self._patience:
            self.stopped = "early"
            control.should_training_stop = True

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self._report("training", state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        elif self._late():
            self.stopped = "time"
            control.should_save = control.should_training_stop = True
        # A checkpoint holds the losses so far: the trainer forgets those that it has not logged.
        control.should_log = control.should_evaluate or control.should_save


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
    builder: ListBuilder,
    *,
    questions: Mapping[str, Sequence[str]],
    held_out: Sequence[TrainingList],
    dev: DevSet,
    settings: TrainingSettings,
    folder: RunFolder,
    resume: bool = False,
    bfloat16: bool = False,
    time_limit: float | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train to the end, to an early stop, or until the time is up; the best step is in `best`.

    Args:
        model: its weights are changed.
        builder: makes the lists.
        questions: corpus name to ids of the questions that are learned from.
        held_out: lists of others, for the held-out loss.
        dev: its first half chooses the step.
        settings: everything else; `prior` is not for cross-encoders.
        folder: begun already.
        resume: go on from the last checkpoint in the folder, if there is one.
        bfloat16: compute in bfloat16 under autocast.
        time_limit: seconds after which to write a checkpoint and stop.
        report: told about progress.
        clock: in seconds.

    Raises:
        ConfigError: a batch that micro batches do not fill, or a loss that is not finite.
    """
    s, say, begun = settings, report or (lambda *_: None), clock()
    if s.batch % s.micro_batch:
        raise ConfigError(
            f"the batch, {s.batch} lists, must be a multiple of the micro batch, {s.micro_batch}"
        )
    # One row after the other through all epochs: a resumed run goes on with the next.
    lists = [one for e in range(s.epochs) for one in epoch_lists(builder, questions, s, e)]
    steps = -(-len(lists) // s.batch)
    last = _checkpoint(folder) if resume else None

    def result(history: Sequence[HistoryPoint], stopped: str, steps: int) -> TrainingResult:
        return TrainingResult(
            history=tuple(history),
            best_step=history[_best(history)].step,
            stopped=stopped,
            steps=steps,
            seconds=clock() - begun,
        )

    if last is not None:
        state = json.loads((last / "trainer_state.json").read_text("utf-8"))
        before = _history(state["log_history"])
        waited = len(before) - 1 - _best(before)
        if s.patience is not None and waited >= s.patience:
            return result(before, "early", before[-1].step)
    course = _Course(
        folder,
        patience=s.patience,
        late=lambda: time_limit is not None and clock() - begun >= time_limit,
        report=say,
    )
    on_cpu = model.device.type == "cpu"
    trainer = _Trainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(folder.folder / "checkpoints"),
            num_train_epochs=1,
            per_device_train_batch_size=s.micro_batch,
            per_device_eval_batch_size=1,
            gradient_accumulation_steps=s.batch // s.micro_batch,
            learning_rate=s.learning_rate,
            warmup_steps=max(1, round(s.warmup * steps)),
            weight_decay=s.weight_decay,
            max_grad_norm=s.clip,
            eval_strategy="steps",
            eval_steps=min(s.evaluate_every, steps),
            eval_on_start=last is None,
            save_strategy="steps",
            save_steps=s.checkpoint_every,
            save_total_limit=2,
            logging_strategy="no",
            logging_nan_inf_filter=False,
            batch_sampler=_InOrder,
            seed=s.seed,
            bf16=bfloat16,
            use_cpu=on_cpu,
            dataloader_pin_memory=not on_cpu,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=_rows(builder, lists),
        eval_dataset=_rows(builder, held_out),
        loss=ChoosingLoss(model, negatives=s.negatives),
        evaluator=_Looks(dev, say),
        callbacks=[course],
    )
    trainer.remove_callback(PrinterCallback)  # it would print into --json
    with without_progress_bar():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return result(_history(trainer.state.log_history), course.stopped, trainer.state.global_step)


def _checkpoint(folder: RunFolder) -> Path | None:
    """The last whole checkpoint; one that a kill left in pieces is removed."""
    found: list[tuple[int, Path]] = []
    for path in (folder.folder / "checkpoints").glob("checkpoint-*"):
        try:
            # Written last, so that what has it is whole.
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
            continue
        found.append((int(path.name.rsplit("-", 1)[1]), path))
    return max(found)[1] if found else None
