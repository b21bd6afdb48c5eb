"""The training loop: list-wise, with checkpoints from which it goes on to the same result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rankgate.errors import ConfigError
from rankgate_eval.train.engine.checkpoint import RunFolder
from rankgate_eval.train.engine.evaluation import DevSet, list_scores, mean_list_loss
from rankgate_eval.train.engine.lists import ListBuilder, TrainingList
from rankgate_eval.train.engine.loss import list_loss
from rankgate_eval.train.engine.model import Ranker
from rankgate_eval.train.engine.sampling import epoch_plan
from rankgate_eval.train.engine.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

__all__ = ["HistoryPoint", "Trainer", "TrainingResult"]

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and the total."""

_HELD_OUT_LISTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One look during training.

    Attributes:
        step: steps done.
        train_loss: mean over the steps since the look before; None before the first.
        held_out_loss: on lists of training questions that are not learned from.
        ndcg: on dev, of the policy's order.
        by_corpus: the same for each corpus.
    """

    step: int
    train_loss: float | None
    held_out_loss: float
    ndcg: float
    by_corpus: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        history: every look, the untrained model's first.
        best_step: step of the model in `best/`; 0: the one that training started from.
        stopped: `finished`, `early` (no more gain on dev) or `time` (to be resumed).
        steps: done in all.
        seconds: spent in this process.
        tokens: read while learning in this process.
    """

    history: tuple[HistoryPoint, ...]
    best_step: int
    stopped: str
    steps: int
    seconds: float
    tokens: int


@dataclass(slots=True)
class _State:
    step: int = 0
    best_step: int = 0
    best: float = -1.0
    since_best: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[HistoryPoint] = field(default_factory=list)


class Trainer:
    """Trains one ranker.

    Args:
        ranker: the model; its weights are changed.
        builder: makes the lists.
        questions: corpus name to ids of the questions that are learned from.
        held_out: corpus name to ids of questions that are not, for the held-out loss.
        dev: what early stopping looks at.
        settings: everything else.
        folder: where checkpoint and best model go.
        identity: what must be equal in a resumed run, beside the settings (data, start).
        report: told about progress.
        clock: in seconds.
    """

    def __init__(
        self,
        ranker: Ranker,
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
        state = self._restored(optimizer) if going_on else _State()
        check = self._held_out_lists()
        tokens = 0
        if not state.history:
            self._look(state, check)
            self._save(state, optimizer)
        stopped = self._early(state)
        while not stopped and state.step < self.settings.steps:
            epoch, within = divmod(state.step, self.settings.steps_an_epoch)
            lists = self._lists(epoch)
            size = self.settings.batch
            for part in range(within, self.settings.steps_an_epoch):
                before = getattr(self.ranker, "tokens_read", 0)
                loss = self._step(optimizer, lists[part * size : (part + 1) * size], state.step)
                tokens += getattr(self.ranker, "tokens_read", 0) - before
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
            tokens=tokens,
        )

    def _early(self, state: _State) -> str:
        patience = self.settings.patience
        return "early" if patience is not None and state.since_best >= patience else ""

    def _step(
        self, optimizer: torch.optim.Optimizer, lists: Sequence[TrainingList], step: int
    ) -> float:
        import torch

        self.ranker.module.train()
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
                f"{self.settings.learning_rate}), or train in float32"
            )
        torch.nn.utils.clip_grad_norm_(self.ranker.module.parameters(), self.settings.clip)
        optimizer.step()
        return total

    def _lists(self, epoch: int) -> list[TrainingList]:
        """All lists of an epoch, with the model's own hard negatives where it is time for them."""
        s = self.settings
        plan = epoch_plan(
            self.questions, lists=s.lists, temperature=s.temperature, seed=s.seed, epoch=epoch
        )
        hardest: list[list[str]] | None = None
        if s.mine_again is not None and epoch >= s.mine_again:
            # Kept on disk: a run that is resumed within the epoch has another model by then.
            name = f"negatives-{epoch}.json"
            hardest = self.folder.read_json(name)
            if hardest is None:
                hardest = self._chosen(plan, epoch)
                self.folder.write_json(name, hardest)
        return [
            self.builder.build(
                corpus,
                query,
                epoch=epoch,
                place=place,
                hardest=None if hardest is None else hardest[place],
            )
            for place, (corpus, query) in enumerate(plan)
        ]

    def _chosen(self, plan: Sequence[tuple[str, str]], epoch: int) -> list[list[str]]:
        """For each list the mined passages that the model itself likes best.

        One that it puts above every positive, and that dense or BM25 puts there too, is likely
        relevant and left out: two of three rankers agree.
        """
        import torch

        found = []
        self.ranker.module.eval()
        for place, (corpus, query) in enumerate(plan):
            mined = self.builder.mined[corpus][query]
            passages = self.builder.corpora[corpus].passages
            rng = np.random.default_rng([self.settings.seed, 19, epoch, place])
            drawn = self.builder.drawn(mined, rng, self.settings.mine_pool)
            ids = [*mined.query.positives, *drawn]
            with torch.no_grad():
                texts = [passages[i] for i in ids]
                values = self.ranker.scores([(mined.query.text, texts)])[0].cpu().numpy()
            good = len(mined.query.positives)
            bar = float(values[:good].max())
            fit = [
                i
                for i in np.argsort(-values, kind="stable").tolist()
                if i >= good and not (values[i] > bar and ids[i] in mined.doubted)
            ]
            found.append([ids[i] for i in fit[: self.settings.negatives]])
            self._report("choosing hard negatives", place + 1, len(plan))
        return found

    def _held_out_lists(self) -> list[TrainingList]:
        listed = [(c, q) for c, ids in sorted(self.held_out.items()) for q in ids]
        rng = np.random.default_rng([self.settings.seed, 23])
        chosen = sorted(rng.permutation(len(listed))[:_HELD_OUT_LISTS].tolist())
        # Far beyond any epoch, so that the draws are no training list's.
        far = 1_000_000
        return [self.builder.build(*listed[i], epoch=far, place=i) for i in chosen]

    def _look(self, state: _State, check: Sequence[TrainingList]) -> None:
        look = self.dev.look(
            self.ranker, progress=lambda done, total: self._report("looking at dev", done, total)
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
        if torch.cuda.is_available():
            data["cuda"] = torch.cuda.get_rng_state_all()
        self.folder.write(self.folder.checkpoint, lambda file: torch.save(data, file))

    def _restored(self, optimizer: torch.optim.Optimizer) -> _State:
        import torch

        data = torch.load(self.folder.checkpoint, map_location="cpu", weights_only=True)
        self.ranker.module.load_state_dict(data["module"])
        optimizer.load_state_dict(data["optimizer"])
        torch.set_rng_state(data["random"])
        if "cuda" in data and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(data["cuda"])
        raw = data["state"]
        points = [HistoryPoint(**point) for point in raw.pop("history")]
        return _State(history=points, **raw)


def _optimizer(module: torch.nn.Module, decay: float) -> torch.optim.Optimizer:
    import torch

    # Parameters that a module wants at another pace than the rest, by name.
    paces: Mapping[str, float] = getattr(module, "paces", {})
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
