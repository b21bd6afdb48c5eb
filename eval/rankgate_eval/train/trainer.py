"""Trains question layers, list-wise, with checkpoints from which it goes on to the same result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankgate.errors import ConfigError, InputError
from rankgate_eval.train.course import HistoryPoint, Report, RunFolder, TrainingResult
from rankgate_eval.train.lists import ListBuilder, TrainingList, epoch_lists
from rankgate_eval.train.looks import DevSet
from rankgate_eval.train.query import QueryRanker
from rankgate_eval.train.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

    from rankgate_eval.train.query_module import QueryModule

__all__ = ["Trainer", "held_out_lists", "list_loss", "list_scores", "mean_list_loss"]

_HELD_OUT_LISTS = 64
# Far beyond any epoch, so that the draws are no training list's.
_FAR = 1_000_000


def held_out_lists(
    builder: ListBuilder, held_out: Mapping[str, Sequence[str]], *, seed: int
) -> list[TrainingList]:
    """At most 64 lists of questions that are not learned from, for the held-out loss."""
    listed = [(c, q) for c, ids in sorted(held_out.items()) for q in ids]
    rng = np.random.default_rng([seed, 23])
    chosen = sorted(rng.permutation(len(listed))[:_HELD_OUT_LISTS].tolist())
    return [builder.build(*listed[i], epoch=_FAR, place=i) for i in chosen]


def list_loss(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over lists of -log softmax of the first score (ListNet with one relevant passage).

    Chance is log(n) for n passages; only differences within a list count. (Cao et al., ICML
    2007, DOI 10.1145/1273496.1273513.)

    Args:
        scores: one (n,) tensor a list, the positive first; lists may differ in length.

    Raises:
        InputError: no list.
    """
    import torch

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
    import torch

    if not lists:
        raise InputError("the loss needs at least one list")
    with torch.no_grad():
        return float(np.mean([float(list_loss(list_scores(ranker, [s]))) for s in lists]))


@dataclass(slots=True)
class _State:
    step: int = 0
    best_step: int = 0
    best: float = -1.0
    since_best: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[HistoryPoint] = field(default_factory=list)


class Trainer:
    """Trains question layers.

    Args:
        ranker: the layers; their weights are changed.
        builder: makes the lists.
        questions: corpus name to ids of the questions that are learned from.
        held_out: corpus name to ids of questions that are not, for the held-out loss.
        dev: its first half chooses the step.
        settings: everything else.
        folder: where checkpoint and best model go.
        identity: what must be equal in a resumed run, beside the settings (data, start).
        report: told about progress.
        clock: in seconds.
    """

    def __init__(
        self,
        ranker: QueryRanker,
        builder: ListBuilder,
        *,
        questions: Mapping[str, Sequence[str]],
        held_out: Mapping[str, Sequence[str]],
        dev: DevSet,
        settings: TrainingSettings,
        folder: RunFolder,
        identity: Mapping[str, Any],
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ranker = ranker
        self.builder = builder
        self.questions = questions
        self.held_out = held_out
        self.dev = dev
        self.settings = settings
        self.folder = folder
        self.identity = {**identity, "settings": asdict(settings)}
        self._report = (lambda *_: None) if report is None else report
        self._clock = clock

    @property
    def checkpoint(self) -> Path:
        """Weights, optimizer and place of the last checkpoint."""
        return self.folder.folder / "checkpoint.pt"

    def run(self, *, resume: bool = False, time_limit: float | None = None) -> TrainingResult:
        """Train to the end, to an early stop, or until the time is up.

        Args:
            resume: go on from the checkpoint in the folder, if there is one.
            time_limit: seconds after which to write a checkpoint and stop; what was reached can
                be resumed.

        Raises:
            ConfigError: the folder holds a training and `resume` is off, or another training.
        """
        import torch

        begun = self._clock()
        going_on = self.folder.begin(self.identity, resume=resume)
        torch.manual_seed(self.settings.seed)
        module = self.ranker.module
        optimizer = _optimizer(module, self.settings.weight_decay)
        going_on = going_on and self.checkpoint.is_file()
        state = self._restored(optimizer) if going_on else _State()
        check = held_out_lists(self.builder, self.held_out, seed=self.settings.seed)
        if not state.history:
            self._look(state, check)
            self._save(state, optimizer)
        stopped = self._early(state)
        while not stopped and state.step < self.settings.steps:
            epoch, within = divmod(state.step, self.settings.steps_an_epoch)
            lists = epoch_lists(self.builder, self.questions, self.settings, epoch)
            size = self.settings.batch
            for part in range(within, self.settings.steps_an_epoch):
                loss = self._step(optimizer, lists[part * size : (part + 1) * size], state.step)
                state.losses.append(loss)
                state.step += 1
                self._report("training", state.step, self.settings.steps)
                looked = state.step % self.settings.evaluate_every == 0
                looked = looked or state.step == self.settings.steps
                if looked:
                    self._look(state, check)
                late = time_limit is not None and self._clock() - begun >= time_limit
                late = late and state.step < self.settings.steps
                if looked or late or state.step % self.settings.checkpoint_every == 0:
                    self._save(state, optimizer)
                stopped = self._early(state) or ("time" if late else "")
                if stopped:
                    break
        return TrainingResult(
            history=tuple(state.history),
            best_step=state.best_step,
            stopped=stopped or "finished",
            steps=state.step,
            seconds=self._clock() - begun,
        )

    def _early(self, state: _State) -> str:
        patience = self.settings.patience
        return "early" if patience is not None and state.since_best >= patience else ""

    def _step(
        self, optimizer: torch.optim.Optimizer, lists: Sequence[TrainingList], step: int
    ) -> float:
        import torch

        for group in optimizer.param_groups:
            group["lr"] = self.settings.rate_at(step) * group.get("pace", 1.0)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for at in range(0, len(lists), self.settings.micro_batch):
            part = lists[at : at + self.settings.micro_batch]
            loss = list_loss(list_scores(self.ranker, part))
            loss = loss * (len(part) / len(lists))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not np.isfinite(total):
            raise ConfigError(
                f"the loss is {total} at step {step}: lower the learning rate (now "
                f"{self.settings.learning_rate})"
            )
        module = self.ranker.module
        # The scale last, as it has always been: the order moves the last bits of the norm.
        parameters = [*module.encoder.parameters(), module.scale]
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        optimizer.step()
        return total

    def _look(self, state: _State, check: Sequence[TrainingList]) -> None:
        look = self.dev.look(
            self.ranker.values,
            progress=lambda done, total: self._report("looking at dev", done, total),
        )
        state.history.append(
            HistoryPoint(
                step=state.step,
                train_loss=float(np.mean(state.losses)) if state.losses else None,
                held_out_loss=mean_list_loss(self.ranker, check),
                ndcg=look.ndcg,
                by_corpus=dict(look.by_corpus),
            )
        )
        state.losses = []
        if look.ndcg > state.best:
            state.best, state.best_step, state.since_best = look.ndcg, state.step, 0
            self.ranker.save(self.folder.best)
        else:
            state.since_best += 1
        self.folder.write_json("history.json", [asdict(point) for point in state.history])

    def _save(self, state: _State, optimizer: torch.optim.Optimizer) -> None:
        import torch

        data: dict[str, Any] = {
            "module": self.ranker.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "state": asdict(state),
        }
        self.folder.write(self.checkpoint, lambda file: torch.save(data, file))

    def _restored(self, optimizer: torch.optim.Optimizer) -> _State:
        import torch

        data = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.ranker.module.load_state_dict(data["module"])
        optimizer.load_state_dict(data["optimizer"])
        torch.set_rng_state(data["random"])
        raw = data["state"]
        points = [HistoryPoint(**point) for point in raw.pop("history")]
        return _State(history=points, **raw)


def _optimizer(module: QueryModule, decay: float) -> torch.optim.Optimizer:
    import torch

    # Parameters that a module wants at another pace than the rest, by name.
    paces = module.paces
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {
            "params": [p for n, p in named if n not in paces and p.ndim >= 2],
            "weight_decay": decay,
        },
        {"params": [p for n, p in named if n not in paces and p.ndim < 2], "weight_decay": 0.0},
    ]
    groups += [
        {"params": [p], "weight_decay": 0.0, "pace": paces[n]} for n, p in named if n in paces
    ]
    return torch.optim.AdamW(groups, lr=0.0)
