"""The cuts of a hierarchy: one at each level, where the gradients of its tasks and the gradient from above meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..gradients import Cut
from ._forward import ForwardPass
from ._hierarchy import Hierarchy

LevelMeasure = Callable[[int, Tensor, Tensor], Tensor]
"""Maps a level, the inner products of all rows' gradients, and the scale of these to the weights."""


@dataclass(frozen=True)
class LevelRows:
    """The rows that are weighed against each other: at each level its tasks, and the gradient from above as one.

    Args:
        names: Names of the tasks, then of the gradients from above each level.
        at: For each level that has tasks, these.
        above: For each of these levels with tasks above it, the number of the gradient from above.
        higher: For each of those the tasks above it.
    """

    names: tuple[str, ...]
    at: dict[int, tuple[int, ...]]
    above: dict[int, int]
    higher: dict[int, tuple[int, ...]]

    @staticmethod
    def of(hierarchy: Hierarchy) -> LevelRows:
        """Return those of a hierarchy."""
        tasks = range(len(hierarchy.names))
        at, above, higher = {}, {}, {}
        names = list(hierarchy.names)
        for level in range(1, max(hierarchy.top) + 1):
            here = tuple(task for task in tasks if level in hierarchy.levels[task])
            rest = tuple(task for task in tasks if hierarchy.top[task] > level)
            if here:
                at[level] = here
            if here and rest:
                above[level], higher[level] = len(names), rest
                names.append(f"above level {level}")
        return LevelRows(tuple(names), at, above, higher)

    def cuts(self, by_level: bool, measure: LevelMeasure | None) -> LevelCuts:
        """Make the cuts of a step."""
        return LevelCuts(self, by_level, measure)

    def present(self, level: int, tasks: Sequence[int]) -> list[int]:
        """Return the rows at a level, in a step with these tasks."""
        here = [task for task in self.at[level] if task in tasks]
        from_above = any(task in tasks for task in self.higher.get(level, ()))
        return [*here, self.above[level]] if from_above else here

    def extended(self, tasks: Sequence[int], losses: Tensor) -> tuple[list[int], Tensor]:
        """Add to the losses of tasks, for each level, the sum of the losses from above it."""
        each = dict(zip(tasks, losses.unbind(), strict=True))
        sums = {
            self.above[level]: torch.stack([each[task] for task in higher if task in each]).sum()
            for level, higher in self.higher.items()
            if any(task in each for task in higher)
        }
        rows = [*tasks, *sums]
        return rows, torch.stack([*each.values(), *sums.values()]) if rows else losses


class LevelCuts(Cut):
    """The cuts of one step, which are used like one cut; the gate of each level is a `Cut` of its own.

    Args:
        rows: What is weighed.
        by_level: Whether weights are found at each level where two gradients meet, and not once for each task.
        measure: Finds the weights from the gradients at a level. Default: `weigh` sets them.
    """

    def __init__(self, rows: LevelRows, by_level: bool, measure: LevelMeasure | None = None) -> None:
        super().__init__(len(rows.names))
        self.rows = rows
        levels = [level for level, here in rows.at.items() if not by_level or len(here) + (level in rows.above) > 1]
        self.gates = {level: Cut(self.count, _at(level, measure)) for level in levels}

    def pass_through(self, level: int, passes: Sequence[ForwardPass], like: Tensor) -> None:
        """Pass the output of a level through its gate, once for each of its tasks.

        Args:
            level: The level.
            passes: The forward passes that have reached it.
            like: A tensor of their type and device, for a rank without any, whose gate takes part all the same.
        """
        if level not in self.gates:
            return
        above = self.rows.above.get(level)
        features = []
        for forward in passes:
            wanted = [task for task in forward.tasks if task in self.rows.at[level]]
            features.append(
                dict.fromkeys(
                    [*wanted, above] if above is not None and forward.top > level else wanted, forward.state.hidden
                )
            )
        if not any(features):
            features = [{self.rows.at[level][0]: like.new_zeros(1, requires_grad=True)}]
        for forward, gated in zip(passes, self.gates[level].gated(features), strict=False):
            views: dict[int, Any] = dict(gated)
            if above in views:
                forward.state = replace(forward.state, hidden=views.pop(above))
            forward.views = views
        units = [gate.unit for gate in self.gates.values() if gate.unit is not None]
        self.unit = torch.stack(units).sum()

    def weigh(self, weights: Tensor) -> None:
        """Set the weights, of tasks only or of all rows."""
        ones = weights.new_ones(self.count - len(weights))
        for gate in self.gates.values():
            gate.weights = torch.cat([weights, ones])

    def close(self) -> None:
        """Release the features of all levels."""
        super().close()
        for gate in self.gates.values():
            gate.close()


def _at(level: int, measure: LevelMeasure | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    return None if measure is None else lambda gramian, unit: measure(level, gramian, unit)
