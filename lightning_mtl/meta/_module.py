"""The module that learns to learn: tasks are adapted to a few examples, and the weights that adaptation starts from are trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..adaptation import (
    MAML,
    Adaptation,
    Adapting,
    EngineName,
    Episode,
    Norm,
)
from ..balancers import Balancer, Weighting
from ..encoders import Encoder
from ..gradients import Scope, weighs_gradients
from ..modules import Batch, Exported, MultiTaskModule, Step, TaskResult
from ..task import Task
from ._checks import (
    refuse_bad_arguments,
    refuse_divergence,
    refuse_sharding,
    refuse_supports,
    refuse_unlearned_norms,
)
from ._episodes import episodes_of, episodes_of_rows, has_episodes, is_episodic, label_episodes
from ._new_task import initial_head, usual_method
from ._queries import OWN, query_loss, query_predictions
from ._trail import by_step


class MetaLearningModule(MultiTaskModule):
    """Train a network so that a few examples are enough to learn a new task.

    A batch holds episodes, `{source: {"support": {column: [episodes, rows, ...]}, "query": ...}}` (`EpisodeDataModule` makes them), or a
    list of single ones of different sizes, `{source: [{"support": {column: [rows, ...]}, "query": ...}, ...]}`. In each the task is
    adapted to the support, by `adaptation`, and evaluated on the query; training improves the weights that adaptation starts from. A task's
    loss is the mean over the queries' rows.

    A batch may also be one of `MultiTaskDataModule`, `{source: {column: tensor}}`: then each task, with its own head, loss and labels, is an
    episode whose support is a part of its labelled rows, and whose query is the rest. In evaluation each part is the
    query once, with the other as support. With an adaptation of zero steps this is `MultiTaskModule`, except for
    the running statistics of batch norms, since each task has a forward pass of its own.

    Optimisation works as usual: meta-gradients are computed in `training_step` and reach `.grad` in Lightning's backward pass, so clipping,
    accumulation, precision and DDP work as they do elsewhere. Balancers see the tasks' meta-gradients, with the scope "parameters".

    `forward` and `predict` use the weights that adaptation starts from; `adapt` returns a module for a new task.

    Args:
        tasks: The tasks, with different names.
        encoder: The shared part.
        adaptation: How a task's parameters follow from its support: one of `lightning_mtl.adaptation`. Default: `MAML()`.
        engine: How episodes are adapted: "loop", one after another, in the memory of one; "vmap", all of equal shapes together; "auto",
            together where there are 8 or more of equal shapes and a check on two of them, once, finds what the loop finds; on the CPU
            not where there are convolutions, which get no faster by it.
        chunk: How many episodes "vmap" adapts at a time, which bounds its memory. Default: all.
        compile: Whether to compile the adaptation of several episodes, which takes up to minutes once for each shape. It needs "vmap".
        norm: How batch norms with running statistics normalise. "episode": support and query by the statistics of the support.
            "transductive": each by its own, so that predictions for query examples depend on each other, as in MAML's experiments.
            "running": by the running statistics that the model has. No episode changes these.
        support: Share of a batch's labelled rows that a task is adapted to, where batches hold no episodes.
        balancer: How the tasks of a step are balanced; see `MultiTaskModule`.
        weight_heads: See `MultiTaskModule`.
        refresh_every: See `MultiTaskModule`.
        optimizer: See `MultiTaskModule`; parameters of the adaptation itself are the group "adaptation".

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
        refuse_bad_arguments(rule, engine, chunk, compile, norm, support)
        if scope == "representation":
            raise ValueError(
                "`scope` must be 'parameters' where tasks are adapted, since their gradients come through the adaptation, got 'representation'. "
                "Leave it out."
            )
        if weighs_gradients(balancer):
            scope = "parameters"
        self._rule = [copy.deepcopy(rule)]  # in a list: a module can be set only after `super().__init__`
        self.engine: EngineName = engine
        self.chunk = chunk
        self.compile_episodes = compile
        self.norm: Norm = norm
        self.support = support
        self._adapting: dict[int, Adapting] = {}
        self._checked: set[str] = set()
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
        """Return the arguments that only meta-learning has."""
        return {
            "adaptation": self.adaptation,
            "engine": self.engine,
            "chunk": self.chunk,
            "compile": self.compile_episodes,
            "norm": self.norm,
            "support": self.support,
        }

    by_step = by_step

    def predict(self, rows: Any, tasks: Sequence[str] | None = None, *, batch_size: int = 64) -> Any:
        """Predict with the weights that adaptation starts from; see `MultiTaskModule.predict`, and `adapt` for a new task.

        Args:
            rows: See `MultiTaskModule.predict`.
            tasks: See `MultiTaskModule.predict`.
            batch_size: See `MultiTaskModule.predict`.

        Raises:
            ValueError: Batch norms were trained on the statistics of episodes, and have none of their own; or see there.
        """
        refuse_unlearned_norms(self, "predict")
        return super().predict(rows, tasks, batch_size=batch_size)

    def exported(self, tasks: Sequence[int]) -> Exported:
        """Return these tasks as a plain module; see `MultiTaskModule`."""
        refuse_unlearned_norms(self, "export")
        return super().exported(tasks)

    def run(self, batch: Batch) -> Step:
        """Adapt the tasks that have labels in this batch, and compute their losses on the queries; see `TaskModule`."""
        step = Step()
        for i, episodes in self.episodes(batch):
            adapter = self.adapter(i)
            refuse_supports(self, i, episodes)
            outcomes = adapter(episodes, training=self.training)
            loss = query_loss(outcomes, {**adapter.trained(), **self._learned()} if self.training else None)
            if self.training:
                refuse_divergence(self, i, batch, episodes, loss)
            step.results.append(TaskResult(i, loss, *query_predictions(outcomes)))
        if self.training and not step.results:
            step.features = next(self.encoder.parameters()).flatten()[
                :1
            ]  # the zero loss of a rank without labels depends on it
        return step

    # Hooks of Lightning

    def setup(self, stage: str) -> None:
        """Check that each rank has a whole model, and read the strategy as `TaskModule` does."""
        refuse_sharding(self.trainer.strategy)
        self._adapting = {}  # layers may have changed since
        super().setup(stage)

    def build_layers(self) -> None:
        """Make the layers that depend on the data, and the adaptation's parameters for them."""
        super().build_layers()
        self._build_adaptation()

    def on_train_start(self) -> None:
        """Set the epoch of the adaptation, also where a run is resumed within one."""
        self.adaptation.at_epoch(self.trainer.current_epoch)
        super().on_train_start()  # may validate

    def on_train_epoch_start(self) -> None:
        """Set the epoch of the adaptation."""
        super().on_train_epoch_start()
        self.adaptation.at_epoch(self.trainer.current_epoch)

    def _label(self, batch: Any) -> Any:
        if not has_episodes(batch):
            return super()._label(batch)
        return label_episodes(batch, self.tasks, self.routing, self._checked)

    usual_method, initial_head = usual_method, initial_head

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        if "adaptation" not in self._modules:
            self.adaptation: Adaptation = self._rule.pop()
        self._adapting = {}
        super()._set_tasks(tasks)

    def build_heads(self) -> None:
        """Make the layers of the heads that are known, and the adaptation's parameters for them."""
        super().build_heads()
        self._adapting = {}
        if len(self.heads) == len(self.tasks):
            for name, head in self.heads.items():
                self.adaptation.refuse(name, head)
            self._build_adaptation()

    def _build_adaptation(self) -> None:
        """Make the parameters of the adaptation, once those of the network are known."""
        network = (self.encoder, "encoder."), (self.heads, "heads."), (self.losses, "losses.")
        known = {prefix + name: value for part, prefix in network for name, value in part.named_parameters()}
        if len(self.heads) == len(self.tasks) and known:
            self.adaptation.build(known)

    def _learned_rules(self) -> dict[str, nn.Module]:
        return {**super()._learned_rules(), "adaptation": self.adaptation}

    @property
    def has_unused_parameters(self) -> bool:  # type: ignore[override]
        """Whether some parameters get no gradient in any step."""
        return any(self.adaptation.replaces(f"heads.{task.key}.") for task in self.tasks)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the adapters, which are made again where they are needed."""
        return {**super().__getstate__(), "_adapting": {}}

    # Episodes

    def _learned(self) -> dict[str, Tensor]:
        return {f"{OWN}{name}": value for name, value in self.adaptation.learned().items()}

    def adapter(self, task: int) -> Adapting:
        """Return the object that adapts a task.

        Args:
            task: Its number.
        """
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

    def episodes(self, batch: Batch) -> Iterator[tuple[int, Episode | list[Episode]]]:
        """Yield each task that has labels, and its episodes."""
        for source, part in self._label(batch).items():
            inputs = partial(self.routing.inputs, source)
            if is_episodic(part):
                for i in self.routing.readers(source):
                    yield i, episodes_of(self.tasks[i], part, inputs)
            elif part is not None:
                for i in self.routing.present(source, part):
                    if pairs := episodes_of_rows(self, i, part, inputs):
                        yield i, pairs
