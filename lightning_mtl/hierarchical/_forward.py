"""A forward pass through the levels of an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..encoders import Features, LevelledEncoder
from ..heads import Head, through
from ._hierarchy import Hierarchy
from ._label_feeds import gold, soft


class ForwardPass:
    """The forward pass of one source, level by level, with the heads at each level; rows that no higher level needs are left out.

    Args:
        hierarchy: The levels of the tasks.
        encoder: The encoder.
        heads: Heads by the keys of tasks.
        inputs: The encoder's columns.
        tasks: Numbers of the tasks to predict.
        plan: For levels that not all rows reach, the numbers of those that do.
        targets: Labels of tasks by their numbers, which may be fed instead of predictions.
        share: Their share in what is fed.
        words: The number of the word that starts at each position, -1 elsewhere, for heads that point at words.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        encoder: LevelledEncoder,
        heads: Mapping[str, Any],
        inputs: dict[str, Any],
        tasks: Iterable[int],
        *,
        plan: Mapping[int, Tensor] | None = None,
        targets: Mapping[int, Tensor] | None = None,
        share: float = 0.0,
        words: Tensor | None = None,
    ) -> None:
        self.hierarchy = hierarchy
        self.encoder = encoder
        self.heads = heads
        self.tasks = sorted(hierarchy.closure(tasks))
        self.top = max((hierarchy.top[task] for task in self.tasks), default=1)
        """The highest level to run; without tasks the first one, since a zero loss must depend on something."""
        self.plan = plan or {}
        self.targets = targets or {}
        self.share = share
        self.words = words
        self.state = encoder.prepare(inputs)
        self.active: Tensor | None = None
        """Numbers of the rows that are still run; None is all of them."""
        self.predictions: dict[int, Tensor] = {}
        self.rows: dict[int, Tensor | None] = {}
        """For each task with predictions the rows that they are for."""
        self.views: dict[int, Tensor] = {}
        """The output of the current level, once for each task, where gradients are weighed task by task."""
        self._taps: dict[tuple[int, int], tuple[Features, Tensor | None]] = {}

    def run(self) -> ForwardPass:
        """Run all levels."""
        for level in range(1, self.top + 1):
            self.step(level)
            self.predict(level)
        return self

    def step(self, level: int) -> None:
        """Run a level for the rows that need it."""
        if level > self.top:
            return
        rows = self.plan.get(level)
        if rows is not None and rows is not self.active:
            self.state = self.state.rows(_places(self.active, rows))
            self.active = rows
        below = self.hierarchy.level_grad.get(level - 1, 1.0)
        state = replace(self.state, hidden=scaled(self.state.hidden, below))
        self.state = self.encoder.step(state, level, self._extra(level))

    def predict(self, level: int) -> None:
        """Run the heads that read a level."""
        of = self.hierarchy
        here = [task for task in self.tasks if level in of.levels[task]]
        features = self.encoder.tap(self.state, level) if here and not self.views else None
        for task in here:
            if features is None or task in self.views:
                features = self.encoder.tap(replace(self.state, hidden=self.views[task]), level)
            read = _read(features, of.tap_grad[of.names[task]])
            self._taps[task, level] = read, self.active
            if of.top[task] == level:
                read = read if len(of.levels[task]) == 1 else self._mixed(task)
                head = self.heads[of.keys[task]]
                words = None if self.words is None else _kept(self.words, None, self.active)
                self.predictions[task] = through(head, read, words)
                self.rows[task] = self.active
        self.views = {}

    def _mixed(self, task: int) -> Features:
        of = self.hierarchy
        taps = [self._taps[task, level] for level in of.levels[task]]
        values = [_kept(tap[0] if isinstance(tap, tuple) else tap, rows, self.active) for tap, rows in taps]
        mixed: Tensor = of.mixes._modules[of.keys[task]](values)
        last = taps[-1][0]
        return (mixed, last[1]) if isinstance(last, tuple) else mixed

    def _extra(self, level: int) -> Tensor | None:
        """Sum up what lower tasks feed to a level."""
        of = self.hierarchy
        if level not in of.fed:
            return None
        embedded = [self._fed(lower) for lower in of.fed[level]]
        positions = max(values.ndim for values in embedded)
        extra = sum(values if values.ndim == positions else values.unsqueeze(1) for values in embedded)
        joined: Tensor = of.joins[str(level)](extra)
        return joined

    def _fed(self, task: int) -> Tensor:
        of = self.hierarchy
        key = of.keys[task]
        head: Head = self.heads[key]
        values = soft(head, _kept(self.predictions[task], self.rows[task], self.active))
        if of.detach_feeds:
            values = values.detach()
        if self.share and task in self.targets:
            labels, known = gold(head, _kept(self.targets[task], None, self.active))
            values = torch.where(known, self.share * labels + (1 - self.share) * values, values)
        embedded: Tensor = of.embeddings._modules[key](values)
        return embedded

    def labels(self, task: int, target: Tensor, rows: Tensor | None, *, words: bool) -> tuple[Tensor, Tensor | None]:
        """Return a task's labels in the order of the rows that it was predicted for.

        Args:
            task: Its number.
            target: The labels of all rows of the batch.
            rows: Numbers of the rows that have one; of labels of words, numbers of the positions. None is all of them.
            words: Whether each position has a label.

        Returns:
            Labels, and numbers, of these rows.
        """
        active = self.rows[task]
        if active is None or rows is None:
            return target, rows
        length = target.shape[1] if words else 1
        return target[active], _places(active, rows // length) * length + rows % length


def run_together(passes: Sequence[ForwardPass], gates: Any, top: int) -> None:
    """Run the forward passes of all sources of a step, level by level.

    Args:
        passes: The forward passes.
        gates: The gates of the levels, if there are any; then all ranks pass something through each.
        top: The highest level of a task.
    """
    tops = [forward.top for forward in passes] + [top] * (gates is not None)
    for level in range(1, max(tops, default=0) + 1):
        running = [forward for forward in passes if level <= forward.top]
        for forward in running:
            forward.step(level)
        if gates is not None:
            gates.pass_through(level, running, passes[0].state.hidden)
        for forward in running:
            forward.predict(level)


def _read(features: Features, factor: float) -> Features:
    """Return features whose gradient is multiplied by a factor."""
    return (scaled(features[0], factor), features[1]) if isinstance(features, tuple) else scaled(features, factor)


def scaled(values: Tensor, factor: float) -> Tensor:
    """Return a tensor whose gradient is multiplied by a factor."""
    if factor == 1 or not values.requires_grad:
        return values
    return values.detach() if factor == 0 else _Scaled.apply(values, factor)  # type: ignore[no-untyped-call]


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def _places(active: Tensor | None, rows: Tensor) -> Tensor:
    """Return the places of rows among the active ones, which are sorted."""
    return rows if active is None else torch.searchsorted(active, rows)


def _kept(values: Tensor, before: Tensor | None, rows: Tensor | None) -> Tensor:
    """Return the values of rows, from the values of the rows that were active before."""
    return values if rows is None or rows is before else values[_places(before, rows)]
