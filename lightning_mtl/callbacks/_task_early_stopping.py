"""Tasks stop one by one, when they get no better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, Protocol, get_args, runtime_checkable

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .._checks import did_you_mean, require
from .._distributed import flattens, load_whole, whole
from ._patience import Patience
from ._planned import sampler_of
from ._stateful import Remembering

Action = Literal["freeze", "drop", "vote"]
Stop = Literal["all", "any", "majority"]


@runtime_checkable
class _Module(Protocol):
    """What the callback asks of the model."""

    tasks: Sequence[Any]
    encoder: nn.Module
    heads: nn.ModuleDict
    routing: Any

    def scores(self) -> dict[str, float]: ...


class TaskEarlyStopping(Remembering):
    """Stop each task when its validation score has not got better for a while; small tasks overfit while large ones still learn.

    A task is judged by its first metric, in the direction in which that is better, after each validation. What happens to a task that
    stops says `action`:

    - "freeze": its head moves no more, bit for bit; its loss still shapes the trunk.
    - "drop": nor does its loss. Where other tasks read its source, the loss leaves the steps at once, on all ranks; where none does,
      the source is no longer drawn, from the 32nd step on (rates are announced so early, see `SamplingSchedule`), and until then the
      task is frozen. Epochs keep their length, and the other sources share what is free. The last tasks are never dropped:
      training ends.
    - "vote": nothing, but it counts for `stop_when`.

    Validation goes on to show all of them.

    Args:
        patience: Validations in a row without a better score after which a task has stopped: a number for all tasks that have a
            metric, or {task: number}; tasks that it does not name never stop.
        min_delta: By how much a score must be above the best one to be better.
        action: What happens to a task that has stopped.
        stop_when: Whether training ends when "all" tasks that have a metric have stopped, when "any" has, or a "majority" (more than
            half); None for never. `min_epochs` and `min_steps` of the Trainer count.
        restore: Whether a head gets back the weights of its best validation, when its task is frozen or dropped, and, whatever the
            action, when training ends (after the Trainer's last checkpoint). They are kept on the CPU, and in checkpoints. The trunk stays as it is.

    Raises:
        ValueError: A number out of its range, an unknown action, task or `stop_when`; tasks without metrics, or a run without
            validation; "drop" with several sources and no `MultiTaskDataModule`; or a strategy that flattens parameters.

    Example:
        >>> from lightning_mtl.callbacks import TaskEarlyStopping
        >>> stopping = TaskEarlyStopping({"mood": 2, "topic": 5}, action="drop")  # L.Trainer(callbacks=[stopping])
    """

    def __init__(
        self,
        patience: int | Mapping[str, int] = 3,
        *,
        min_delta: float = 0.0,
        action: Action = "freeze",
        stop_when: Stop | None = "all",
        restore: bool = True,
    ) -> None:
        given = patience if isinstance(patience, Mapping) else {"": patience}
        for task, number in given.items():
            name = f"patience[{task!r}]" if task else "patience"
            require(number >= 1, name, "at least 1", number, "1 stops at the first score that is not better.")
        require(len(given) > 0, "patience", "a number or {task: number}", patience, "Name the tasks to judge.")
        require(0 <= min_delta < math.inf, "min_delta", "finite and at least 0", min_delta, "0 counts every gain.")
        require(action in get_args(Action), "action", f"one of {list(get_args(Action))}", action, "Choose one.")
        ends = (*get_args(Stop), None)
        require(stop_when in ends, "stop_when", f"one of {list(ends)}", stop_when, "None never ends training.")
        self.patience, self.min_delta, self.action = patience, min_delta, action
        self.stop_when, self.restore = stop_when, restore
        self._forget()

    def _forget(self) -> None:
        self._judge = Patience(self.min_delta)
        self._weights: dict[str, dict[str, Tensor]] = {}
        self._silent: list[str] = []  # tasks whose loss has left the steps
        self._judged: dict[str, int] = {}
        self._tied: dict[str, set[str]] = {}
        self._norms: list[nn.Module] = []
        self._still: list[nn.Module] = []
        self._looks = False

    def record(self) -> dict[str, Any]:
        """Give which tasks were judged, the best evaluation of each, and when they stopped, as plain data."""
        known = {
            "stopped": dict(self._judge.stopped),
            "best": {task: dict(of) for task, of in self._judge.best.items()},
        }
        return {"tasks": list(self._judged), **known, "action": self.action}

    @property
    def _frozen(self) -> Iterable[str]:
        return () if self.action == "vote" else self._judge.stopped

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Refuse what cannot be stopped; steps will lack tasks that are dropped, which DDP must expect from the start."""
        if stage != "fit":
            return
        if not isinstance(pl_module, _Module):
            raise ValueError(
                f"TaskEarlyStopping must have a module of lightning_mtl, got {type(pl_module).__name__}. Use `EarlyStopping` of Lightning."
            )
        if flattens(trainer.strategy) and (self.restore or self.action != "vote"):
            raise ValueError(
                f"TaskEarlyStopping must find the parameters of each head, got {type(trainer.strategy).__name__}, which flattens them. Use "
                "'ddp' or ModelParallelStrategy; or action='vote' with restore=False."
            )
        if self.action == "drop":
            pl_module.routing.every_task_every_step = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Settle who is judged; forget another run."""
        if not trainer.enable_validation:
            raise ValueError(
                "TaskEarlyStopping must see validation scores, got a run without validation. Give the sources a split 'validation'."
            )
        if self.begins_anew(trainer):
            self._forget()
        self._judged = self._chosen(pl_module)
        shared = {id(p) for p in pl_module.encoder.parameters()}
        for task, head in pl_module.heads.items():
            named = head.named_parameters(remove_duplicate=False)
            self._tied[task] = {name for name, p in named if id(p) in shared}
        self._looks = self.action == "drop"
        self._hold(pl_module)
        self._silence(pl_module)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Let no running average of a frozen head move; look at the first batch."""
        if self._looks:
            self._looks = False
            self._refuse_sources(trainer, pl_module, batch)
        if moving := [norm for norm in self._norms if norm.training]:
            self._still += [norm.eval() for norm in moving]

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Take the gradients of heads that move no more: what has none is left alone, by momentum and decay too."""
        for task in self._frozen:
            for name, parameter in pl_module.heads[task].named_parameters():
                if name not in self._tied[task]:
                    parameter.grad = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Let the dropped tasks be evaluated too."""
        if trainer.state.fn == TrainerFn.FITTING:
            pl_module.routing.left_out = frozenset()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge the tasks; the scores are equal on all ranks, and so is what follows."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        scores = {task: score for task, score in pl_module.scores().items() if task not in self._frozen}
        better, stopped = self._judge.take(trainer.global_step, scores, self._judged)
        for task in better if self.restore else ():
            state = whole(pl_module.heads[task])
            self._weights[task] = {name: value for name, value in state.items() if name not in self._tied[task]}
        for task in stopped:
            self._stop(task, pl_module)
        if stopped and self.action == "drop":
            self._drop(trainer, pl_module, stopped)
        self._silence(pl_module)
        if self._ends(pl_module):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Give heads back their best weights."""
        for task in self._weights:
            self._put_back(task, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the module."""
        super().teardown(trainer, pl_module, stage)
        if isinstance(pl_module, _Module):
            pl_module.routing.left_out = frozenset()
        self._let_norms_go()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Let go of the norms of a run that breaks off, for which there is no teardown."""
        self._let_norms_go()

    def _let_norms_go(self) -> None:
        for norm in self._still:
            norm.train()
        self._norms, self._still = [], []

    def state_dict(self) -> dict[str, Any]:
        """Give who is judged how, who has stopped, and the best weights of heads."""
        return {**self._judge.state_dict(), "silent": list(self._silent), "weights": dict(self._weights)}

    def take_back(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Args:
            state: The state.
        """
        self._judge.load_state_dict(state)
        self._silent, self._weights = list(state["silent"]), dict(state["weights"])

    # Who is judged

    def _chosen(self, module: Any) -> dict[str, int]:
        """Give the patience of each task that is judged."""
        names, able = [task.name for task in module.tasks], _able(module)
        if isinstance(self.patience, Mapping):
            for name in self.patience:
                if name not in names:
                    _refuse_name(name, names)
                if name not in able:
                    raise ValueError(
                        f"`patience` must name tasks with metrics, got {name!r}, which is not evaluated. Leave it out, or give it `metrics`."
                    )
            return dict(self.patience)
        require(len(able) > 0, "patience", "of tasks with metrics", names, "Give one of them `metrics`.")
        return dict.fromkeys(able, self.patience)

    def _refuse_sources(self, trainer: L.Trainer, module: Any, batch: Any) -> None:
        if sampler_of(trainer) is not None:
            loader: Any = trainer.train_dataloader
            loader.refuse_haste()
        elif isinstance(batch, Mapping):
            module.routing.settle(batch)
            sources = module.routing.sources
            require(
                len(sources) < 2,
                "action",
                "'freeze' or 'vote' where a source of several may have to be left out",
                self.action,
                f"Read {sources} by a `MultiTaskDataModule`, which can leave out one of them.",
            )

    # Who stops

    def _stop(self, task: str, module: Any) -> None:
        best = self._judge.best.get(task, {"score": math.nan, "step": 0})
        rank_zero_info(
            f"Task {task!r} has stopped ({self.action}): its score was best at step {best['step']}, with {best['score']:.4g}."
        )
        if self.action != "vote":
            self._put_back(task, module)
            self._hold(module)

    def _put_back(self, task: str, module: Any) -> None:
        if self.restore and task in self._weights:
            load_whole(module.heads[task], self._weights[task])

    def _hold(self, module: Any) -> None:
        parts = (part for task in self._frozen for part in module.heads[task].modules())
        self._norms = [part for part in parts if isinstance(part, _NormBase)]

    def _drop(self, trainer: L.Trainer, module: Any, stopped: Sequence[str]) -> None:
        """Leave out the sources that no task learns from any more, and elsewhere the losses; unless nothing would be left."""
        if not self._live(module):
            return
        sampler = sampler_of(trainer)
        for source in module.routing.sources:
            readers = [module.tasks[i].name for i in module.routing.reads(source)]
            if any(task not in self._judge.stopped for task in readers):
                self._silent += [task for task in readers if task in stopped]
            elif sampler is not None:
                sampler.leave_out([source])

    def _silence(self, module: Any) -> None:
        module.routing.left_out = frozenset(i for i, task in enumerate(module.tasks) if task.name in self._silent)

    def _live(self, module: Any) -> bool:
        """Say whether some task still learns."""
        return any(
            task.name not in self._judge.stopped and not module.routing.idle(i) for i, task in enumerate(module.tasks)
        )

    def _ends(self, module: Any) -> bool:
        stopped, count = sum(task in self._judge.stopped for task in self._judged), len(_able(module))
        if self.action == "drop" and not self._live(module):
            return True
        enough = {"all": count, "any": 1, "majority": count // 2 + 1}
        return self.stop_when is not None and stopped >= enough[self.stop_when]


def _able(module: Any) -> list[str]:
    """Name the tasks that learn and are evaluated by a metric."""
    numbered = enumerate(module.tasks)
    return [task.name for i, task in numbered if task.main_metric() is not None and not module.routing.idle(i)]


def _refuse_name(name: str, names: Sequence[str]) -> NoReturn:
    hint = did_you_mean(name, names)
    raise ValueError(f"`patience` must name tasks, got {name!r}; tasks are {list(names)}. {hint}")
