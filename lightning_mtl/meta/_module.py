"""The module that learns to learn: tasks are adapted to a few examples, and what they start from is trained."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from .._checks import require
from .._distributed import SHARDED
from ..adaptation import (
    ENGINES,
    MAML,
    NORMS,
    Adaptation,
    Adapting,
    EngineName,
    Episode,
    EpisodeNorms,
    Norm,
    Outcome,
    carried,
    whole,
)
from ..balancers import Balancer, GradientBalancer, Weighting
from ..callbacks import evaluating
from ..encoders import Encoder
from ..gradients import Scope
from ..modules import Batch, Exported, MultiTaskModule, Step, TaskResult
from ..task import Task
from ._episodes import divergence, episodes_of, halves, is_episodic, labelled_episodes, refuse_overlap

_OWN = "adaptation."
_APART = 2**20
"""More than an episode has sentences, so that those of different episodes have different numbers."""


@dataclass(frozen=True)
class Trail:
    """What adapting to episodes gave, step by step.

    Args:
        losses: The query's loss before the first step and after each, [steps + 1, episodes].
        predictions: What the head predicted for the query, [steps + 1, episodes, rows, ...]: probabilities, or values.
        target: The query's labels, [episodes, rows, ...].
    """

    losses: Tensor
    predictions: Tensor
    target: Tensor


class MetaLearningModule(MultiTaskModule):
    """Train a network so that a few examples are enough to learn a new task.

    A batch holds episodes, `{source: {"support": {column: [episodes, rows, ...]}, "query": ...}}` (`EpisodeDataModule` makes them), or a
    list of single ones of different sizes, `{source: [{"support": {column: [rows, ...]}, "query": ...}, ...]}`. In each the task is
    adapted to the support, as `adaptation` says, and judged by the query; what is learned over the episodes is what adaptation starts from. A task's
    loss is the mean over the queries' rows.

    A batch may also be one of `MultiTaskDataModule`, `{source: {column: tensor}}`: then each task, with its own head, loss and labels, is an
    episode whose support is a part of its labelled rows, and whose query is the rest. In evaluation both parts are judged, each by
    adapting to the other. With an adaptation of no steps this is `MultiTaskModule`, but for
    the running statistics of batch norms, through which each task goes by itself.

    Tasks are optimised as ever: meta-gradients are found in `training_step` and reach `.grad` in Lightning's backward pass, so clipping,
    accumulation, precision and DDP work as they do elsewhere. Balancers see the tasks' meta-gradients, with the scope "parameters".

    `forward` and `predict` use the weights that adaptation starts from; `adapt` gives a module for a new task.

    Args:
        tasks: The tasks, with different names.
        encoder: The shared part.
        adaptation: How a task's parameters follow from its support: one of `lightning_mtl.adaptation`. Default: `MAML()`.
        engine: How episodes are adapted: "loop", one after another, in the memory of one; "vmap", all of equal shapes together; "auto",
            together where there are 8 or more of equal shapes and a check on two of them, once, finds what the loop finds; on the CPU
            not where there are convolutions, which gain nothing by it.
        chunk: How many episodes "vmap" adapts at a time, which bounds its memory. Default: all.
        compile: Whether to compile what is adapted together, which takes up to minutes once for each shape. It needs "vmap".
        norm: How batch norms with running statistics normalise. "episode": support and query by the statistics of the support.
            "transductive": each by its own, so that predictions for query examples depend on each other, as in MAML's experiments.
            "running": by the running statistics that the model came with. No episode changes these.
        support: Share of a batch's labelled rows that a task is adapted to, where batches hold no episodes.
        balancer: How the tasks of a step share it; see `MultiTaskModule`.
        weight_heads: See `MultiTaskModule`.
        refresh_every: See `MultiTaskModule`.
        optimizer: See `MultiTaskModule`; what the adaptation learns itself is the group "adaptation".

    Raises:
        ValueError: An unknown engine or norm, a number out of its range, or an adaptation that does not suit a task.

    Example:
        >>> import lightning as L
        >>> from torch import nn
        >>> from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Regression, Task
        >>> from lightning_mtl.adaptation import MAML
        >>> from lightning_mtl.families import Sinusoid
        >>> encoder = HardSharing(nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()), width=40)
        >>> module = MetaLearningModule([Task("y", head=Regression())], encoder, adaptation=MAML(rate=0.01))
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = L.Trainer(max_steps=20, enable_model_summary=False, accelerator="cpu", **quiet)
        >>> trainer.fit(module, EpisodeDataModule({"waves": Sinusoid()}, shots=5, episodes=8, summary=False))
        >>> "train/y/loss" in trainer.callback_metrics
        True
    """

    carries_gradients = True

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: Encoder,
        *,
        adaptation: Adaptation | None = None,
        engine: EngineName = "auto",
        chunk: int | None = None,
        compile: bool = False,
        norm: Norm = "episode",
        support: float = 0.5,
        balancer: Balancer | Weighting | None = None,
        scope: Scope | None = None,
        weight_heads: bool = False,
        refresh_every: int = 1,
        sketch: int | None = None,
        gradient_memory: float | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    ) -> None:
        rule = MAML() if adaptation is None else adaptation
        _refuse(rule, engine, chunk, compile, norm, support)
        if scope == "representation":
            raise ValueError(
                "`scope` must be 'parameters' where tasks are adapted, since their gradients come through the adaptation, got 'representation'. "
                "Leave it out."
            )
        if _weighs_gradients(balancer):
            scope = "parameters"
        self._rule = [copy.deepcopy(rule)]  # in a list: a module can be set only after `super().__init__`
        self.engine: EngineName = engine
        self.chunk = chunk
        self.compile_episodes = compile
        self.norm: Norm = norm
        self.support = support
        self._adapting: dict[int, Adapting] = {}
        self._looked_at: set[str] = set()
        super().__init__(
            tasks,
            encoder,
            balancer=balancer,
            scope=scope,
            weight_heads=weight_heads,
            refresh_every=refresh_every,
            sketch=sketch,
            gradient_memory=gradient_memory,
            optimizer=optimizer,
        )

    def arguments(self) -> dict[str, Any]:
        """Give the arguments that only meta-learning has."""
        return {
            "adaptation": self.adaptation,
            "engine": self.engine,
            "chunk": self.chunk,
            "compile": self.compile_episodes,
            "norm": self.norm,
            "support": self.support,
        }

    def by_step(self, batch: Batch, steps: int | None = None) -> dict[str, Trail]:
        """Adapt to episodes in evaluation mode, and tell what the query gives before the first step and after each.

        Args:
            batch: Episodes of equal sizes.
            steps: How many to take. Default: those that the adaptation takes in evaluation.

        Raises:
            ValueError: The episodes are of different sizes.
        """
        trails = {}
        with evaluating(self):
            for i, episodes in self._episodes(move_data_to_device(batch, self.device)):
                outcomes = self._adapter(i)(episodes, training=False, every=True, steps=steps)
                if len(outcomes) != 1:
                    raise ValueError(
                        f"`batch` must hold episodes of equal sizes, to be told step by step, got {len(outcomes)} sizes. Give one after another."
                    )
                trails[self.tasks[i].name] = self._trail(i, outcomes[0])
        return trails

    def _trail(self, task: int, outcome: Outcome) -> Trail:
        answer = outcome.joined()
        prediction: Tensor = answer["prediction"]
        flat = self.tasks[task].known_head().predict(prediction.flatten(0, 2))
        read = flat.reshape(*prediction.shape[:3], *flat.shape[1:])
        return Trail(torch.cat(outcome.losses).T, read.transpose(0, 1), answer["target"][:, 0])

    def predict(self, rows: Any, tasks: Sequence[str] | None = None, *, batch_size: int = 64) -> Any:
        """Predict with the weights that adaptation starts from; see `MultiTaskModule.predict`, and `adapt` for a task of its own.

        Args:
            rows: See `MultiTaskModule.predict`.
            tasks: See `MultiTaskModule.predict`.
            batch_size: See `MultiTaskModule.predict`.

        Raises:
            ValueError: Batch norms were trained on the statistics of episodes, and have none of their own; or see there.
        """
        self._refuse_unlearned_norms("predict")
        return super().predict(rows, tasks, batch_size=batch_size)

    def exported(self, tasks: Sequence[int]) -> Exported:
        self._refuse_unlearned_norms("export")
        return super().exported(tasks)

    def _refuse_unlearned_norms(self, what: str) -> None:
        layers: Any = EpisodeNorms(self.encoder, self.norm).layers
        if self.adaptation.count(True) and any(layer.num_batches_tracked == 0 for layer in layers):
            raise ValueError(
                f"`{what}` must be of an adapted task where batch norms have no statistics of their own, since episodes are normalised by theirs, got "
                "a module as it was trained. Adapt it first, module.adapt(task, rows); or use LayerNorm or GroupNorm."
            )

    def run(self, batch: Batch) -> Step:
        """Adapt the tasks that have labels in this batch, and compute the losses by which they are judged; see `TaskModule`."""
        step = Step()
        for i, episodes in self._episodes(batch):
            adapter = self._adapter(i)
            self._refuse_supports(i, episodes)
            outcomes = adapter(episodes, training=self.training)
            rows = sum(outcome.rows for outcome in outcomes)
            loss = reduce(torch.add, [self._share(adapter, outcome, rows) for outcome in outcomes])
            if self.training:
                self._refuse_divergence(i, batch, episodes, loss)
            step.results.append(TaskResult(i, loss, *_answers(outcomes)))
        if self.training and not step.results:
            step.features = next(self.encoder.parameters()).flatten()[:1]  # for a rank without labels to hang on
        return step

    def _share(self, adapter: Adapting, outcome: Outcome, rows: int) -> Tensor:
        """Give what an outcome adds to the mean loss over the rows of all queries; in training with its gradients."""
        share = outcome.rows_each / rows
        loss = outcome.total() * share
        if not self.training:
            return loss
        gradients = {**outcome.gradients, **{_OWN + name: value for name, value in outcome.learned.items()}}
        return carried(loss, gradients, {**adapter.trained(), **self._learned()}, share)

    # Hooks of Lightning

    def setup(self, stage: str) -> None:
        """Refuse strategies under which no task can be adapted.

        Raises:
            ValueError: Parameters are cut over the ranks.
        """
        strategy = self.trainer.strategy
        if isinstance(strategy, SHARDED):
            raise ValueError(
                f"`strategy` must leave each process a whole model to adapt, got {type(strategy).__name__}, which cuts parameters over the "
                "processes. Use strategy='ddp'."
            )
        self._adapting = {}  # what was changed since is looked up anew
        super().setup(stage)

    def configure_model(self) -> None:
        """Make what only the data could tell, and what the adaptation learns of it."""
        super().configure_model()
        self._settle_rule()

    def on_train_start(self) -> None:
        """Tell the adaptation which epoch it is, also where a run is resumed within one."""
        super().on_train_start()
        self.adaptation.at_epoch(self.trainer.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Tell the adaptation which epoch it is."""
        super().on_train_epoch_start()
        self.adaptation.at_epoch(self.trainer.current_epoch)

    def _label(self, batch: Any) -> Any:
        if not isinstance(batch, Mapping) or not any(is_episodic(part) for part in batch.values()):
            return super()._label(batch)
        self.routing.settle(batch)
        noted = dict(batch)
        for source, part in batch.items():
            if is_episodic(part):
                noted[source] = labelled_episodes(part, [self.tasks[i] for i in self.routing.readers(source)], source)
                if source not in self._looked_at:
                    self._look_at(source, part)
            elif part is not None:
                noted |= super()._label({source: part})
        return noted

    def _look_at(self, source: str, part: Any) -> None:
        """Look, once, whether episodes of a user's own are such."""
        if "drawn" not in (part[0] if isinstance(part, list) else part):
            refuse_overlap(part, source)
        self._looked_at.add(source)

    # Of the base

    def usual_method(self, task: Task) -> tuple[Adaptation, Norm]:
        """Give the adaptation that was trained for; what it learned for the head of a single task goes to that of the new one."""
        rule = copy.deepcopy(self.adaptation)
        if len(self.tasks) == 1:
            own = {f"heads.{task.name}.{name}": value for name, value in task.known_head().named_parameters()}
            rule.succeed(f"heads.{self.tasks[0].name}.", f"heads.{task.name}.", own)
        return rule, self.norm

    def initial_head(self, task: Task) -> None:
        """Give a new task the head that the others start from, if it predicts as many numbers of the same kind."""
        head, found = self.tasks[0].known_head(), task.known_head()
        if len(self.tasks) > 1 or (head.kind, head.outputs) != (found.kind, found.outputs):
            return
        if head.kind == "regression":  # its scale is part of what was learned
            task.head = copy.deepcopy(head)
            task.head.fitted = True
        else:
            found.layers, found.readout = copy.deepcopy(head.layers), head.readout

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        if "adaptation" not in self._modules:
            self.adaptation: Adaptation = self._rule.pop()
        self._adapting = {}
        super()._set_tasks(tasks)

    def build_heads(self) -> None:
        """Make the layers of the heads that are known, and what the adaptation learns of them."""
        super().build_heads()
        self._adapting = {}
        if len(self.heads) == len(self.tasks):
            for name, head in self.heads.items():
                self.adaptation.refuse(name, head)
            self._settle_rule()

    def _settle_rule(self) -> None:
        """Let the adaptation make what it learns, once all parameters are known."""
        network = (self.encoder, "encoder."), (self.heads, "heads."), (self.losses, "losses.")
        known = {prefix + name: value for part, prefix in network for name, value in part.named_parameters()}
        if len(self.heads) == len(self.tasks) and known:
            self.adaptation.build(known)

    def _learned_rules(self) -> dict[str, nn.Module]:
        return {**super()._learned_rules(), "adaptation": self.adaptation}

    @property
    def has_unused_parameters(self) -> bool:  # type: ignore[override]
        """Whether some parameters get no gradient in any step."""
        return any(self.adaptation.replaces(f"heads.{task.name}.") for task in self.tasks)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made anew where it is needed."""
        return {**super().__getstate__(), "_adapting": {}}

    # Episodes

    def _learned(self) -> dict[str, Tensor]:
        return {f"{_OWN}{name}": value for name, value in self.adaptation.learned().items()}

    def _adapter(self, task: int) -> Adapting:
        if task not in self._adapting:
            self._adapting[task] = Adapting(
                self.learner(task),
                self.adaptation,
                engine=self.engine,
                chunk=self.chunk,
                compiled=self.compile_episodes,
                norm=self.norm,
            )
        return self._adapting[task]

    def _episodes(self, batch: Batch) -> Iterator[tuple[int, Episode | list[Episode]]]:
        """Give each task that has labels, and its episodes."""
        for source, part in self._label(batch).items():
            inputs = partial(self.routing.inputs, source)
            if is_episodic(part):
                for i in self.routing.readers(source):
                    yield i, episodes_of(self.tasks[i], part, inputs)
            elif part is not None:
                for i in self.routing.present(source, part):
                    if pairs := self._halves(i, part, inputs):
                        yield i, pairs

    def _halves(self, task: int, columns: Any, inputs: Any) -> list[Episode]:
        whole = self.adaptation.count(self.training) == 0
        pair = halves(self.tasks[task], columns, inputs, 1.0 if whole else self.support)
        if pair is None:
            warnings.warn(
                f"Task {self.tasks[task].name!r} had a single labelled row in a batch, which cannot be both adapted to and judged by: it is "
                "left out there. Take a larger `batch_size`.",
                stacklevel=2,
            )
            return []
        return [pair] if self.training or whole else [pair, pair[::-1]]

    def _refuse_supports(self, task: int, episodes: Episode | list[Episode]) -> None:
        """Look whether each episode has what the adaptation needs, where that needs no wait for the device."""
        name = self.tasks[task].name
        for support, _ in [episodes] if isinstance(episodes, tuple) else episodes:
            if support["target"].is_cpu:
                self.adaptation.refuse_support(name, self.heads[name], support["target"])

    def _refuse_divergence(self, task: int, batch: Any, episodes: Any, loss: Tensor) -> None:
        """Look whether adapting stayed finite, where that needs no wait for the device (elsewhere it is seen when losses are shown).

        Raises:
            ValueError: It did not.
        """
        if loss.is_cpu and not math.isfinite(loss.item()):
            name = self.tasks[task].name
            drawn = {source: part.get("drawn") for source, part in batch.items() if isinstance(part, Mapping)}
            raise ValueError(divergence(name, self._adapter(task), episodes, drawn))


def _answers(outcomes: Sequence[Outcome]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put together what was predicted for the rows of all queries, their labels, and for words the sentence of each."""
    told: dict[str, list[Tensor]] = {}
    for number, outcome in enumerate(outcomes):
        for name, value in outcome.joined().items():
            if name == "sequence":
                value = value + _APART * torch.arange(len(value), device=value.device).unsqueeze(1) + number * _APART**2
            told.setdefault(name, []).append(value.flatten(0, 1))
    return whole(told["prediction"]), whole(told["target"]), whole(told["sequence"]) if "sequence" in told else None


def _weighs_gradients(balancer: Any) -> bool:
    return isinstance(balancer, GradientBalancer) or (balancer is not None and not isinstance(balancer, Balancer))


def _refuse(rule: Any, engine: str, chunk: int | None, compiled: bool, norm: str, support: float) -> None:
    require(
        isinstance(rule, Adaptation),
        "adaptation",
        "one of lightning_mtl.adaptation",
        rule,
        "Make it: MAML(rate=0.01, steps=1).",
    )
    require(engine in ENGINES, "engine", f"one of {list(ENGINES)}", engine, "Leave it out for 'auto'.")
    require(norm in NORMS, "norm", f"one of {list(NORMS)}", norm, "Leave it out for 'episode'.")
    require(chunk is None or chunk >= 1, "chunk", "at least 1", chunk, "Leave it out to adapt to all episodes at once.")
    require(
        not compiled or engine == "vmap", "engine", "'vmap' with `compile`", engine, "Give it, or leave `compile` out."
    )
    require(
        0 < support < 1,
        "support",
        "a share between 0 and 1",
        support,
        "0.5 adapts to one half, and judges by the other.",
    )
