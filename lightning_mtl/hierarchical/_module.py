"""The multi-task module of several levels: low tasks are supervised at low levels, and high tasks build on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from .._checks import require_number
from .._lightning import callbacks_of
from ..balancers import Balancer, Weighting
from ..encoders import LevelledEncoder
from ..gradients import Scope
from ..modules import Batch, Exported, Learner, MultiTaskModule, SourceAnswer, SourceBatch, Step
from ..task import LEVELS, Task
from ._alone import network_for
from ._checks import refuse_balancing, refuse_two_clippings
from ._export import ExportedHierarchy
from ._forward import ForwardPass, run_together
from ._hierarchy import Hierarchy, Scale
from ._learner import LevelLearner
from ._level_cuts import LevelRows
from ._level_map import first_rows, level_map
from ._parameter_levels import fed_levels, task_levels, trunk_levels
from ._plan import rows_by_level
from ._source_passes import forward_pass, labels_of


class HierarchicalModule(MultiTaskModule):
    """Train one network of several levels: each task is supervised at its own (Søgaard and Goldberg, ACL 2016).

    It does what `MultiTaskModule` does, level by level. A batch runs no level above its highest task, and a level runs only
    the rows that it or a higher level needs; losses and gradients are those of a full forward pass. A batch norm in a level
    sees the rows that reach it.

    Tasks at higher levels may build on what lower ones predict (`Task.feeds_from`): the embeddings of their labels, weighed
    by the predicted probabilities and summed, are added to what the level reads (Hashimoto et al., EMNLP 2017, equations 1
    and 2, where they are concatenated). To predict some tasks, only these and those that feed them are run.

    Args:
        tasks: The tasks, with different names, each with its `level`.
        encoder: The shared part: `StackedRecurrent`, `Levels`, `HuggingFaceLevels`, or a `LevelledEncoder` of your own.
        balancer: See `MultiTaskModule`.
        scope: See `MultiTaskModule`. "representation" balances at each level: the tasks that are supervised at it, and the
            gradient from above as one. Default: "parameters".
        weight_heads: See `MultiTaskModule`; with the scope "parameters" alone.
        refresh_every: See `MultiTaskModule`.
        sketch: See `MultiTaskModule`.
        gradient_memory: See `MultiTaskModule`.
        optimizer: See `MultiTaskModule`.
        tap_grad: Factor of a task's gradient where it enters the encoder, for all tasks or {task: factor}; a task
            with 0 only probes.
        level_grad: Factor of the gradient from above where it enters a level, for all levels or {level: factor};
            shortcuts from the embeddings do not change.
        feed_width: Size of a label's embedding in what is fed.
        detach_feeds: Whether lower tasks get no gradient through what they feed.
        gold_steps: Steps in which the share of given labels, where there are any, in what is fed falls from 1 to 0. Default:
            predictions from the start.
        clip_by_depth: Clip the norm of a step's gradient at the number of its highest level, or at this if that is less
            (Hashimoto et al. 2017, section 3.6; theirs is 3).

    Raises:
        ValueError: A level that the encoder does not have, or a feed that does not come from a lower level; or see
            `MultiTaskModule`.
        TypeError: `encoder` is not a `LevelledEncoder`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lightning_mtl import Binary, HierarchicalModule, Levels, Multiclass, Task
        >>> low = Task("is_noun", head=Binary(), level=1)
        >>> high = Task("topic", head=Multiclass(4), feeds_from=["is_noun"])
        >>> trunk = nn.Sequential(nn.Linear(5, 16), nn.Linear(16, 8))
        >>> module = HierarchicalModule([low, high], Levels(trunk))
        >>> module({"words": {"x": torch.ones(3, 5)}}, ["topic"])["topic"].shape
        torch.Size([3, 4])
    """

    encoder: LevelledEncoder
    hierarchy: Hierarchy

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: LevelledEncoder,
        *,
        balancer: Balancer | Weighting | None = None,
        scope: Scope | None = None,
        weight_heads: bool = False,
        refresh_every: int = 1,
        sketch: int | None = None,
        gradient_memory: float | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
        tap_grad: Scale = 1.0,
        level_grad: Scale = 1.0,
        feed_width: int = 64,
        detach_feeds: bool = False,
        gold_steps: int = 0,
        clip_by_depth: float | None = None,
    ) -> None:
        if not isinstance(encoder, LevelledEncoder):
            raise TypeError(
                f"`encoder` must be a LevelledEncoder, got {type(encoder).__name__}. Split it into levels, e.g. Levels(nn.Sequential(...)), "
                "or use MultiTaskModule, where all tasks read the output of the encoder."
            )
        require_number("clip_by_depth", clip_by_depth, "The paper's is 3.", above=0, optional=True)
        self._feeding: dict[str, Any] = {
            "tap_grad": tap_grad,
            "level_grad": level_grad,
            "feed_width": feed_width,
            "detach_feeds": detach_feeds,
            "gold_steps": gold_steps,
        }
        self.clip_by_depth = clip_by_depth
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
        """Return the arguments that only a hierarchy has."""
        scales = {name: _plain(self._feeding[name]) for name in ("tap_grad", "level_grad")}
        return {**self._feeding, **scales, "clip_by_depth": self.clip_by_depth}

    def mix(self, task: str) -> dict[int, float]:
        """Return how much each level counts for a task that reads a learned mix of them.

        Raises:
            ValueError: The task reads a single level.
        """
        return self.hierarchy.mix(task)

    def level_map(self, batch: Batch | None = None) -> str:
        """Describe the level of each task, what feeds it, and what share of the encoder's work it needs.

        Args:
            batch: Some rows to count the work with. Default: the work is left out.
        """
        few = None if batch is None else self.few(batch)
        sources = [task.source or (task.resolve(self.inputs) if self.inputs else None) for task in self.tasks]
        return level_map(self.hierarchy, self.encoder, sources, few)

    def few(self, batch: Batch) -> dict[str, Any]:
        """Return what the encoder reads of a few rows, to count its work with."""
        source, columns = next(iter(self.routing.label(batch).items()))
        return {name: first_rows(column) for name, column in self.routing.inputs(source, columns).items()}

    def levels_of_parameters(self) -> tuple[dict[nn.Parameter, int], dict[nn.Parameter, int]]:
        """Return the level of each parameter: those of the trunk, where 0 is the part below all levels; and the tasks' own."""
        return trunk_levels(self.hierarchy, self.encoder), task_levels(self.hierarchy, (self.heads, self.losses))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Print the level map before the first step, where the Trainer prints summaries."""
        super().on_train_batch_start(batch, batch_idx)
        summarized = any(isinstance(callback, ModelSummary) for callback in callbacks_of(self.trainer))
        if self.trainer.global_step == 0 and batch_idx == 0 and summarized:
            rank_zero_info(self.level_map(batch))

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the Trainer says, or by the depth of the step.

        Raises:
            ValueError: Both are set.
        """
        if self.clip_by_depth is None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        refuse_two_clippings(gradient_clip_val, self.clip_by_depth)
        depth = max((self.hierarchy.top[task] for task in self.loss_over_ranks.tasks_of_step()), default=1)
        self.clip_gradients(optimizer, min(float(depth), self.clip_by_depth), "norm")

    # Levels

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        refuse_balancing(self.balancer, self.measuring, tasks, self._feeding["detach_feeds"])
        old = self.hierarchy if "hierarchy" in self._modules else None
        self.hierarchy = Hierarchy(tasks, self.encoder, **self._feeding)
        if old is not None:
            self.hierarchy.succeed(old)
        self.encoder.tapped({level for levels in self.hierarchy.levels for level in levels})
        super()._set_tasks(tasks)

    @property
    def has_unused_parameters(self) -> bool:  # type: ignore[override]
        """Whether some parameters get no gradient in any step."""
        of = self.hierarchy
        cut = 0 in of.tap_grad.values() or 0 in of.level_grad.values()
        return cut or max(of.top) < len(self.encoder.levels)

    def _other_parts(self) -> Sequence[nn.Module]:
        of = self.hierarchy
        return [*of.embeddings.values(), *of.joins.values(), *of.mixes.values()]

    def build_heads(self) -> None:
        """Make the layers of the heads that are known, and the embeddings that they feed."""
        super().build_heads()
        self.hierarchy.build(dict(self.heads.items()))

    def _parameter_levels(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        return fed_levels(self.hierarchy, self.encoder)

    def _width(self, task: Task) -> int:
        return self.encoder.widths[self.hierarchy.top[self.hierarchy.names.index(task.name)] - 1]

    def shared(self) -> nn.Module:
        """Return the shared part: the encoder, and the layers through which it is fed."""
        return nn.ModuleList([*self.encoder.shared_parts(), self.hierarchy.embeddings, self.hierarchy.joins])

    def _level_rows(self) -> LevelRows:
        return LevelRows.of(self.hierarchy)

    def moved_by(self, task: int) -> set[int]:
        """Return the tasks whose heads the loss of this task moves."""
        return {task} if self.hierarchy.detach_feeds else self.hierarchy.closure([task])

    def _label(self, batch: Any) -> Any:
        batch = super()._label(batch)
        for source, columns in batch.items():
            present = self.routing.present(source, columns)
            columns[LEVELS] = rows_by_level(self.hierarchy, self.tasks, columns, present)
        return batch

    def _answers(self, parts: Sequence[SourceBatch], step: Step) -> list[dict[int, SourceAnswer]]:
        passes, cut = [self._forward_pass(part) for part in parts], self.cut
        run_together(passes, cut, max(self.hierarchy.top))
        if passes:
            step.features = passes[0].state.hidden
        return [
            {i: (forward.predictions[i], *labels_of(self.tasks[i], i, part, forward)) for i in part.answered}
            for part, forward in zip(parts, passes, strict=True)
        ]

    def _forward_pass(self, part: SourceBatch) -> ForwardPass:
        share = self.hierarchy.gold_share(self.train_log.step) if self.training else 0.0
        return forward_pass(self.hierarchy, self.encoder, self.heads, self.tasks, part, share)

    def head_outputs(self, inputs: dict[str, Any], tasks: Sequence[int], words: Tensor | None) -> list[Tensor]:
        """Return the outputs of the heads of these tasks; see `MultiTaskModule`."""
        forward = ForwardPass(self.hierarchy, self.encoder, self.heads._modules, inputs, tasks, words=words).run()
        return [forward.predictions[i] for i in tasks]

    def alone(self, task: Task) -> HierarchicalModule:
        """Make a module for one task at its level, with copies of the levels below it and of the tasks that feed them.

        Args:
            task: The task, with a head.
        """
        return network_for(self, task, HierarchicalModule)

    def learner(self, task: int) -> Learner:
        """Return the network and the loss of a task, for adaptation.

        Args:
            task: Its number.
        """
        return LevelLearner(
            super().learner(task), self.hierarchy, lambda inputs, words: self.head_outputs(inputs, [task], words)[0]
        )

    def exported(self, tasks: Sequence[int]) -> Exported:
        return ExportedHierarchy(self.hierarchy, self.encoder, self.tasks, tasks, self.hidden_columns(tasks))


def _plain(scale: Scale) -> Any:
    """Return factors as plain data, whose keys are strings."""
    return {str(key): factor for key, factor in scale.items()} if isinstance(scale, Mapping) else scale
