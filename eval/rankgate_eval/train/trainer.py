"""Trains with the trainer of transformers; when it looks, stops and keeps the best step is ours.

Question layers are trained here, cross-encoders in `full`. Importing this needs torch,
transformers and accelerate (extra `train`).
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
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from rankgate.encoders.encoder import without_progress_bar
from rankgate.errors import ConfigError, InputError
from rankgate_eval.train.course import (
    HistoryPoint,
    Report,
    RunFolder,
    TrainingResult,
    TrainingSettings,
)
from rankgate_eval.train.lists import TrainingList, all_lists, held_out_lists
from rankgate_eval.train.looks import DevSet, Score
from rankgate_eval.train.plan import TrainingPlan
from rankgate_eval.train.query import QueryRanker


def list_loss(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over lists of -log softmax of the first score (ListNet with one relevant passage).

    Chance is log(n) for n passages; only differences within a list count. (Cao et al., ICML
    2007, DOI 10.1145/1273496.1273513.)

    Args:
        scores: one (n,) tensor a list, the positive first; lists may differ in length.

    Raises:
        InputError: no list.
    """
    if not scores:
        raise InputError("the loss needs at least one list")
    # In float32 whatever the model computes in: bfloat16 has three digits.
    losses = [torch.logsumexp(s.float(), dim=0) - s.float()[0] for s in scores]
    return torch.stack(losses).mean()


def list_scores(ranker: QueryRanker, lists: Sequence[TrainingList]) -> list[torch.Tensor]:
    """(n,) what the loss looks at for each list: the ranker's scores plus the list's prior."""
    found = ranker.scores([(s.query, s.texts) for s in lists])
    return [
        values if s.prior is None else values + values.new_tensor(s.prior)
        for values, s in zip(found, lists, strict=True)
    ]


def mean_list_loss(ranker: QueryRanker, lists: Sequence[TrainingList]) -> float:
    """The loss on lists that are not learned from; chance without a prior is log(passages).

    Raises:
        InputError: no list.
    """
    if not lists:
        raise InputError("the loss needs at least one list")
    with torch.no_grad():
        return float(np.mean([float(list_loss(list_scores(ranker, [s]))) for s in lists]))


def rate_at(step: int, steps: int, *, warmup: float) -> float:
    """Share of the highest learning rate at a step (from 0): it rises, and falls in a line."""
    rising = max(1, round(warmup * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def look_at(dev: DevSet, score: Score, report: Report) -> dict[str, float]:
    """nDCG@10 of the policy's order on the half of dev that chooses the step, by corpus too."""
    look = dev.look(score, progress=lambda d, t: report("looking at dev", d, t))
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


class Course(TrainerCallback):  # type: ignore[misc]
    """Keeps the best step, writes the history, and stops early or when the time is up.

    Args:
        keep: writes the model as it is into a folder.
        patience: looks without a gain after which to stop; None: none.
        late: whether the time is up.
    """

    def __init__(
        self,
        folder: RunFolder,
        keep: Callable[[Path], object],
        *,
        patience: int | None,
        late: Callable[[], bool],
        report: Report,
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._patience = patience
        self._late = late
        self._report = report
        self.stopped = "finished"

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """After a look."""
        history = _history(state.log_history)
        self._folder.write_json("history.json", [asdict(point) for point in history])
        best = _best(history)
        if best == len(history) - 1:
            self._keep(self._folder.best)
        # What was looked at is in a checkpoint: a resumed run does not look twice.
        control.should_save = True
        if self._patience is not None and len(history) - 1 - best >= self._patience:
            self.stopped = "early"
            control.should_training_stop = True

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """After a step."""
        self._report("training", state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        elif self._late():
            self.stopped = "time"
            control.should_save = control.should_training_stop = True
        # A checkpoint holds the losses so far: the trainer forgets those that it has not logged.
        control.should_log = control.should_evaluate or control.should_save


def arguments(
    settings: TrainingSettings, folder: RunFolder, steps: int, *, begun: bool
) -> dict[str, Any]:
    """What every training tells its trainer; `begun`: it goes on from a checkpoint."""
    return {
        "output_dir": str(folder.folder / "checkpoints"),
        "num_train_epochs": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": settings.learning_rate,
        "max_grad_norm": settings.clip,
        "eval_strategy": "steps",
        "eval_steps": min(settings.evaluate_every, steps),
        "eval_on_start": not begun,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "save_total_limit": 2,
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "seed": settings.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def run_course(
    make: Callable[[Course, bool], Trainer],
    keep: Callable[[Path], object],
    *,
    settings: TrainingSettings,
    folder: RunFolder,
    resume: bool,
    time_limit: float | None,
    report: Report,
    clock: Callable[[], float],
) -> TrainingResult:
    """Train to the end, to an early stop, or until the time is up; the best step is in `best`.

    Args:
        make: the trainer, with the course among its callbacks; told whether it goes on.
        keep: writes the model as it is into a folder.
        resume: go on from the last checkpoint in the folder, if there is one.
        time_limit: seconds after which to write a checkpoint and stop.
    """
    begun = clock()
    last = _checkpoint(folder) if resume else None

    def result(history: Sequence[HistoryPoint], stopped: str, steps: int) -> TrainingResult:
        return TrainingResult(
            history=tuple(history),
            best_step=history[_best(history)].step,
            stopped=stopped,
            steps=steps,
            seconds=clock() - begun,
        )

    if last is not None and settings.patience is not None:
        state = json.loads((last / "trainer_state.json").read_text("utf-8"))
        before = _history(state["log_history"])
        if len(before) - 1 - _best(before) >= settings.patience:
            return result(before, "early", before[-1].step)
    course = Course(
        folder,
        keep,
        patience=settings.patience,
        late=lambda: time_limit is not None and clock() - begun >= time_limit,
        report=report,
    )
    trainer = make(course, last is not None)
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


class _QueryTrainer(Trainer):  # type: ignore[misc]
    """Lists as they are drawn, in their order, over stored token vectors of passages."""

    control: TrainerControl

    def __init__(
        self, ranker: QueryRanker, plan: TrainingPlan, report: Report, **given: Any
    ) -> None:
        super().__init__(
            model=ranker.module,
            data_collator=list,
            eval_dataset=held_out_lists(plan.builder, plan.held_out),
            **given,
        )
        self._ranker = ranker
        self._dev = plan.dev
        self._settings = plan.builder.settings
        self._report = report

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def training_step(
        self, model: Any, inputs: Sequence[TrainingList], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The mean loss of a step's lists, a micro batch at a time."""
        total = torch.zeros(())
        for at in range(0, len(inputs), self._settings.micro_batch):
            part = inputs[at : at + self._settings.micro_batch]
            loss = list_loss(list_scores(self._ranker, part)) * (len(part) / len(inputs))
            self.accelerator.backward(loss)
            total += loss.detach()
        if not bool(torch.isfinite(total)):
            raise ConfigError(
                f"the loss is {float(total)} at step {self.state.global_step}: lower the learning "
                f"rate (now {self._settings.learning_rate})"
            )
        return total

    def evaluate(self, *args: Any, **given: Any) -> dict[str, float]:
        """A look at the half of dev that chooses, and the loss of lists kept back."""
        found = look_at(self._dev, self._ranker.values, self._report)
        found = {f"eval_{name}": value for name, value in found.items()}
        found["eval_loss"] = mean_list_loss(self._ranker, self.eval_dataset)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def train_query_layers(
    ranker: QueryRanker,
    plan: TrainingPlan,
    *,
    folder: RunFolder,
    resume: bool = False,
    time_limit: float | None = None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingResult:
    """Train the ranker's layers, whose weights are changed, by the plan; see `run_course`.

    Raises:
        ConfigError: a loss that is not finite.
    """
    s, say = plan.builder.settings, report or (lambda *_: None)
    lists = all_lists(plan.builder, plan.questions)
    steps = -(-len(lists) // s.batch)
    # Weights alone decay, and some parameters want another pace than the rest.
    paces = ranker.module.paces
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter],
            "lr": s.learning_rate * paces.get(name, 1.0),
            "weight_decay": s.weight_decay if parameter.ndim >= 2 else 0.0,
        }
        for name, parameter in ranker.module.named_parameters()
    ]

    def make(course: Course, begun: bool) -> Trainer:
        optimizer = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_at(step, steps, warmup=s.warmup)
        )
        return _QueryTrainer(
            ranker,
            plan,
            say,
            args=TrainingArguments(
                **arguments(s, folder, steps, begun=begun),
                per_device_train_batch_size=s.batch,
                remove_unused_columns=False,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=lists,
            optimizers=(optimizer, schedule),
            callbacks=[course],
        )

    return run_course(
        make,
        ranker.save,
        settings=s,
        folder=folder,
        resume=resume,
        time_limit=time_limit,
        report=say,
        clock=clock,
    )
