"""The multi-task module of several levels: low tasks are supervised low, and high tasks build on them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from .._distributed import gathers_for
from ..balancers import Balancer, LossBalancer, Weighting
from ..encoders import LevelledEncoder
from ..gradients import Measuring, Scope
from ..inputs import WORDS
from ..modules import Batch, Exported, Learner, MultiTaskModule, SourceAnswer, SourceBatch, Step
from ..saving import without_lost_balancer
from ..task import LEVELS, ROWS, Task
from ._export import ExportedHierarchy
from ._forward import Climb
from ._hierarchy import Hierarchy, Mix, Scale
from ._learner import LevelLearner
from ._level_cuts import LevelCuts, LevelRows
from ._level_map import level_map
from ._parameter_levels import fed_levels, task_levels, trunk_levels


class HierarchicalModule(MultiTaskModule):
    """Train one network of several levels: each task is supervised at its own (Søgaard and Goldberg, ACL 2016).

    It does what `MultiTaskModule` does, level by level. A batch runs no level above its last task, and of a batch whose
    tasks sit at different levels the rows that are done drop out as it rises; losses and gradients are those of the full
    run. Where a batch norm is in a level, it sees the rows that come so far.

    Tasks at higher levels may build on what lower ones predict (`Task.feeds_from`): the embeddings of their labels, weighed
    by the predicted probabilities and summed, are added to what the level reads (Hashimoto et al., EMNLP 2017, equations 1
    and 2, where they are concatenated). To answer some tasks, no more is run than these and what feeds them.

    Args:
        tasks: The tasks, with different names, each with its `level`.
        encoder: The shared part: `StackedRecurrent`, `Levels`, `HuggingFaceLevels`, or a `LevelledEncoder` of your own.
        balancer: See `MultiTaskModule`.
        scope: See `MultiTaskModule`. "representation" balances at each level: the tasks that sit there, and all that comes from
            above as one. Default: "parameters".
        weight_heads: See `MultiTaskModule`; with the scope "parameters" alone.
        refresh_every: See `MultiTaskModule`.
        sketch: See `MultiTaskModule`.
        gradient_memory: See `MultiTaskModule`.
        optimizer: See `MultiTaskModule`.
        tap_grad: What a task's gradient is multiplied by where it enters the encoder, for all tasks or {task: factor}; a task
            with 0 only probes.
        level_grad: What the gradient from above is multiplied by where it enters a level, for all levels or {level: factor};
            shortcuts from the embeddings stay as they are.
        feed_width: Size of a label's embedding in what is fed.
        detach_feeds: Whether lower tasks get no gradient through what they feed.
        gold_steps: Steps in which the share of given labels, where there are any, in what is fed falls from 1 to 0. Default:
            predictions from the start.
        clip_by_depth: Clip the norm of a step's gradient at the number of its highest level, or at this if that is less
            (Hashimoto et al. 2017, section 3.6; theirs is 3).

    Raises:
        ValueError: A level that the encoder does not have, or a feed that does not come from a lower level; or see
            `MultiTaskModule`.
        TypeError: `encoder` is no `LevelledEncoder`.

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
                f"`encoder` must be a LevelledEncoder, got {type(encoder).__name__}. Cut it into levels, e.g. Levels(nn.Sequential(...)), "
                "or use MultiTaskModule, where all tasks sit at the top."
            )
        if clip_by_depth is not None and not 0 < clip_by_depth < float("inf"):
            raise ValueError(f"`clip_by_depth` must be above 0 and finite, got {clip_by_depth!r}. The paper's is 3.")
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
        """Give the arguments that only a hierarchy has."""
        scales = {name: _plain(self._feeding[name]) for name in ("tap_grad", "level_grad")}
        return {**self._feeding, **scales, "clip_by_depth": self.clip_by_depth}

    def mix(self, task: str) -> dict[int, float]:
        """Read how much each level counts for a task that reads a learned mix of them.

        Raises:
            ValueError: The task reads a single level.
        """
        if task not in self.hierarchy.mixes:
            raise ValueError(
                f"`task` must have several levels, got {task!r}; those that do: {list(self.hierarchy.mixes)}."
            )
        mix: Mix = self.hierarchy.mixes[task]  # type: ignore[assignment]
        levels = self.hierarchy.levels[self.hierarchy.names.index(task)]
        return dict(zip(levels, mix.shares().tolist(), strict=True))

    def level_map(self, batch: Batch | None = None) -> str:
        """Write down which task sits where, what feeds it, and what share of the encoder's work it needs.

        Args:
            batch: Some rows to count the work with. Default: it is left out.
        """
        few = None if batch is None else self.few(batch)
        sources = [task.source or (task.resolve(self.inputs) if self.inputs else None) for task in self.tasks]
        return level_map(self.hierarchy, self.encoder, sources, few)

    def few(self, batch: Batch) -> dict[str, Any]:
        """Take what the encoder reads of a few rows, to count its work with."""
        source, columns = next(iter(self.routing.label(batch).items()))
        return {name: _few(column) for name, column in self.routing.inputs(source, columns).items()}

    def levels_of_parameters(self) -> tuple[dict[nn.Parameter, int], dict[nn.Parameter, int]]:
        """Tell at which level each parameter sits: those of the trunk, 0 being what all levels stand on; and the tasks' own."""
        return trunk_levels(self.hierarchy, self.encoder), task_levels(self.hierarchy, (self.heads, self.losses))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Print the level map before the first step, where the Trainer prints summaries."""
        super().on_train_batch_start(batch, batch_idx)
        callbacks: Any = self.trainer.callbacks  # type: ignore[attr-defined]
        if (
            self.trainer.global_step == 0
            and batch_idx == 0
            and any(isinstance(callback, ModelSummary) for callback in callbacks)
        ):
            rank_zero_info(self.level_map(batch))

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the Trainer says, or by the depth of the step.

        Raises:
            ValueError: Both are asked for.
        """
        if self.clip_by_depth is None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        if gradient_clip_val is not None:
            raise ValueError(
                f"`gradient_clip_val` of the Trainer must be left out with `clip_by_depth`, got {gradient_clip_val} and "
                f"{self.clip_by_depth}. Leave one of them out."
            )
        depth = max((self.hierarchy.top[task] for task in self.step_loss.tasks_of_step()), default=1)
        self.clip_gradients(optimizer, min(float(depth), self.clip_by_depth), "norm")

    # Levels

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        _refuse_balancing(self.balancer, self.measuring, tasks, self._feeding["detach_feeds"])
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

    def _shard(self, mesh: Any) -> None:
        super()._shard(mesh)
        gathers_for(self.encoder, ("prepare", "tap"))

    def build_heads(self) -> None:
        """Make the layers of the heads that are known, and what is fed from them."""
        super().build_heads()
        self.hierarchy.build(self.heads._modules)

    def _parameter_levels(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        return fed_levels(self.hierarchy, self.encoder)

    def _width(self, task: Task) -> int:
        return self.encoder.widths[self.hierarchy.top[self.hierarchy.names.index(task.name)] - 1]

    def shared(self) -> nn.Module:
        """Give what tasks share: the encoder, and what is fed into it."""
        return nn.ModuleList([*self.encoder.shared_parts(), self.hierarchy.embeddings, self.hierarchy.joins])

    def _level_rows(self) -> LevelRows:
        return LevelRows.of(self.hierarchy)

    def moved_by(self, task: int) -> set[int]:
        """Number the tasks whose heads the loss of this task moves."""
        return {task} if self.hierarchy.detach_feeds else self.hierarchy.closure([task])

    def _label(self, batch: Any) -> Any:
        batch = super()._label(batch)
        for source, columns in batch.items():
            columns[LEVELS] = self._plan(columns, self.routing.present(source, columns))
        return batch

    def _plan(self, columns: dict[str, Any], present: Iterable[int]) -> dict[int, Tensor]:
        if LEVELS in columns:
            found: dict[int, Tensor] = columns[LEVELS]
            return found
        rows, count = {}, 0
        for i in present:
            target, labelled = columns[self.tasks[i].column], columns[ROWS].get(self.tasks[i].name)
            count = len(target)
            if labelled is not None:
                rows[i] = labelled // target.shape[1] if self.tasks[i].known_head().per_position else labelled
        return self.hierarchy.rows(present, rows, count)

    def _answers(self, parts: Sequence[SourceBatch], step: Step) -> list[dict[int, SourceAnswer]]:
        climbs, cut = [self._climb(part) for part in parts], self.cut
        tops = [climb.top for climb in climbs] + [max(self.hierarchy.top)] * (cut is not None)
        for level in range(1, max(tops, default=0) + 1):
            there = [climb for climb in climbs if level <= climb.top]
            for climb in there:
                climb.step(level)
            if isinstance(cut, LevelCuts):
                cut.lead(level, there, climbs[0].state.hidden)
            for climb in there:
                climb.answer(level)
        if climbs:
            step.features = climbs[0].state.hidden
        return [
            {i: (climb.predictions[i], *self._labels(part, climb, i)) for i in part.answered}
            for part, climb in zip(parts, climbs, strict=True)
        ]

    def _climb(self, part: SourceBatch) -> Climb:
        share = self.hierarchy.gold_share(self.train_log.step) if self.training else 0.0
        targets = {}
        if share:
            targets = {i: part.columns[self.tasks[i].column] for i in part.read if self.tasks[i].column in part.columns}
        return Climb(
            self.hierarchy,
            self.encoder,
            self.heads._modules,
            part.inputs,
            part.answered,
            plan=self._plan(part.columns, part.present),
            targets=targets,
            share=share,
            words=part.columns.get(WORDS),
        )

    def _labels(self, part: SourceBatch, climb: Climb, task: int) -> tuple[Any, Tensor | None]:
        target, rows = part.labels(self.tasks[task])
        if target is None:
            return None, rows
        return climb.labels(task, target, rows, words=self.tasks[task].known_head().per_position)

    def predictions(self, inputs: dict[str, Any], tasks: Sequence[int], words: Tensor | None) -> list[Tensor]:
        """Return the outputs of the heads of these tasks; see `MultiTaskModule`."""
        climb = Climb(self.hierarchy, self.encoder, self.heads._modules, inputs, tasks, words=words).run()
        return [climb.predictions[i] for i in tasks]

    def alone(self, task: Task) -> HierarchicalModule:
        """Make a module for one task at its level, with copies of the levels below it and of the tasks that feed them.

        Args:
            task: The task, with a head.
        """
        own: dict[str, Any] = self.arguments()
        whole = HierarchicalModule([*self.tasks, task], copy.deepcopy(self.encoder), **own)
        whole.load_state_dict(without_lost_balancer(whole, self.state_dict()), strict=False)
        whole.hierarchy.succeed(copy.deepcopy(self.hierarchy))
        of = whole.hierarchy
        sitting = {of.top.index(level) for level in of.fed if level <= of.top[-1]}  # who says what a level is fed
        kept = [whole.tasks[i] for i in sorted({*of.closure([len(self.tasks)]), *sitting})]
        for below in kept:
            feeding = of.fed.get(of.top[of.names.index(below.name)], ())
            below.feeds_from, below.auxiliary = tuple(of.names[i] for i in feeding), below.name != task.name
        if isinstance(own["tap_grad"], Mapping):
            own["tap_grad"] = {name: of for name, of in own["tap_grad"].items() if name in {each.name for each in kept}}
        made = HierarchicalModule(kept, whole.encoder, **own)
        made.load_state_dict(whole.state_dict(), strict=False)
        return made

    def learner(self, task: int) -> Learner:
        """Give a task as something that can be adapted.

        Args:
            task: Its number.
        """
        return LevelLearner(
            super().learner(task), self.hierarchy, lambda inputs, words: self.predictions(inputs, [task], words)[0]
        )

    def exported(self, tasks: Sequence[int]) -> Exported:
        return ExportedHierarchy(self.hierarchy, self.encoder, self.tasks, tasks, self.hidden_columns(tasks))


def _refuse_balancing(balancer: Any, measuring: Measuring, tasks: Sequence[Task], detached: bool) -> None:
    """Look whether gradients can be told apart where they are to be weighed.

    Raises:
        ValueError: They cannot.
    """
    in_rows = measuring.scope != "representation" and measuring.refresh_every == 1
    if (
        balancer is None
        or isinstance(balancer, LossBalancer)
        or (in_rows and not (measuring.sketch or measuring.gradient_memory))
    ):
        return
    if measuring.weight_heads:
        raise ValueError(
            "`weight_heads` must go with scope='parameters' in a hierarchy, without `sketch`, `gradient_memory` and `refresh_every`, got "
            f"{measuring}. Leave it out."
        )
    if not detached and any(task.feeds_from for task in tasks):
        raise ValueError(
            "`detach_feeds` must be true where gradients are weighed at the levels, since higher tasks reach lower ones through what these "
            "feed, got False. Set it, or use scope='parameters'."
        )


def _plain(scale: Scale) -> Any:
    """Make plain data of factors, whose keys are texts."""
    return {str(key): factor for key, factor in scale.items()} if isinstance(scale, Mapping) else scale


def _few(column: Any) -> Any:
    return column[:2] if isinstance(column, Tensor) else column
