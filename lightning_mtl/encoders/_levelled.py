"""The base class of encoders with several levels, which can be run level by level."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .._checks import require_numbers
from ._base import Encoder, Features


@dataclass(frozen=True)
class State:
    """The rows of a batch between two levels.

    Args:
        hidden: Output of the last level, [batch, ...].
        mask: Which positions count, [batch, length]. Default: all of them.
        context: What the levels above also read, e.g. inputs for shortcuts. Tensors with two or more dimensions that are as
            long as the batch are taken to have one row for each row of the batch.
    """

    hidden: Tensor
    mask: Tensor | None = None
    context: Any = None

    def rows(self, numbers: Tensor) -> State:
        """Return the state of these rows only."""
        count = len(self.hidden)

        def selected(part: Any) -> Any:
            has_rows = isinstance(part, Tensor) and part.ndim > 1 and len(part) == count
            return part[numbers] if has_rows else part

        return State(self.hidden[numbers], selected(self.mask), tree_map(selected, self.context))


class LevelledEncoder(Encoder):
    """An encoder of several levels, numbered from 1 at the bottom; level 0 is what lies below all of them.

    `HierarchicalModule` runs it level by level: each task reads the level that it belongs to, and no level above the highest
    task of a batch is run. In `MultiTaskModule` all tasks read the top level.

    Args:
        levels: A module for each level, which holds all parameters of the level.
        widths: Size of the features of each level.
        stages: Names of the levels. Default: none; levels are then named by their numbers.

    Raises:
        ValueError: There is no level, or the number of widths or names is not the number of levels.
    """

    shares_features: ClassVar[bool] = True
    pretrained: bool = False
    """Whether its weights are pretrained; feeds then start at zero, so that they do not disturb it."""

    def __init__(self, levels: Iterable[nn.Module], widths: Sequence[int], stages: Sequence[str] = ()) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        require_numbers("widths", widths, "Give the size of the features of each level.", at_least=1, whole=True)
        self.widths = tuple(widths)
        self.stages = tuple(stages)
        count = len(self.levels)
        if not count:
            raise ValueError("An encoder must have at least one level, got none.")
        if len(self.widths) != count or (self.stages and len(set(self.stages)) != count):
            raise ValueError(
                f"`widths` and `stages` must be one for each of {count} levels, got {self.widths} and {self.stages}."
            )
        self.width = self.widths[-1]

    @abstractmethod
    def prepare(self, inputs: dict[str, Any]) -> State:
        """Compute the input of the first level (embeddings, masks).

        Args:
            inputs: The input columns of one source.
        """

    @abstractmethod
    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run one level.

        Args:
            state: Result of `prepare`, or of `step` for the level below.
            level: Its number, from 1.
            extra: Feed of lower tasks, [batch, width] or [batch, length, width]; it is added to the input of the level.
        """

    def entrance(self, level: int) -> int:
        """Return the size of the feeds that can be added to the input of this level."""
        return self.widths[max(level - 2, 0)]

    def tap(self, state: State, level: int) -> Features:
        """Return the features of a level that was just run; the pixels of feature maps become positions.

        Args:
            state: Result of `step`.
            level: The level.
        """
        values = state.hidden
        if values.ndim == 4:  # [batch, channels, height, width]
            values = values.flatten(2).transpose(1, 2)
        return values if values.ndim < 3 else (values, state.mask)

    def tapped(self, levels: Iterable[int]) -> None:
        """Take note of the levels that heads will read; called before training."""

    def number(self, level: int | str) -> int:
        """Return the number of a level, given its number (negative ones count from the top) or its name.

        Raises:
            ValueError: There is no such level.
        """
        count = len(self.levels)
        if level in self.stages:
            return self.stages.index(str(level)) + 1
        if isinstance(level, str) and level.removeprefix("-").isdigit():
            level = int(level)  # keys in a configuration file are strings
        if isinstance(level, int) and 1 <= abs(level) <= count:
            return level if level > 0 else count + 1 + level
        names = f", or one of the names {list(self.stages)}" if self.stages else ""
        raise ValueError(
            f"`level` must be a number from 1 to {count}, or -1 to -{count} from the top{names}, got {level!r}."
        )

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        """Return the parameters of a level; for level 0, those that belong to no other level."""
        if level:
            return list(self.levels[level - 1].parameters())
        above = {id(p) for p in self.levels.parameters()}
        return [p for p in self.parameters() if id(p) not in above]

    def shared_parts(self) -> list[nn.Module]:
        """Return the modules that tasks share; a balancer weighs the gradients of their parameters."""
        return [self]

    def levelled(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        """Return the module and the parameters of each level, from level 0 on."""
        return [(part, self.parameters_of(level)) for level, part in enumerate([self, *self.levels])]

    def freeze(self, level: int | str) -> None:
        """Freeze a level and all below it: no gradients, and in training no dropout and no update of running statistics.

        Call it before training. There is no backward pass below the lowest level that is trained, unless a trained feed
        enters there.

        Args:
            level: Its number (negative ones count from the top) or its name; 0 freezes only what lies below all levels.

        Raises:
            ValueError: There is no such level.
        """
        for number in range(1 if level == 0 else self.number(level) + 1):
            for p in self.parameters_of(number):
                p.requires_grad_(False)

    @property
    def frozen(self) -> int:
        """The highest level up to which all parameters are frozen; -1 if none is."""
        found = -1
        for level in range(len(self.levels) + 1):
            parameters = self.parameters_of(level)
            if any(p.requires_grad for p in parameters):
                break
            found = level if parameters else found
        return found

    def frozen_parts(self) -> list[nn.Module]:
        """Return the modules that stay in evaluation mode while the rest is trained."""
        below = [part for part in self.children() if part is not self.levels]
        return [] if self.frozen < 0 else [*below, *self.levels[: self.frozen]]

    def up_to(self, level: int) -> LevelledEncoder:
        """Return a copy without the levels above this one."""
        lower = copy.copy(self)
        lower._modules = {**self._modules, "levels": self.levels[:level]}
        lower = copy.deepcopy(lower)
        lower.widths, lower.stages, lower.width = self.widths[:level], self.stages[:level], self.widths[level - 1]
        return lower

    def blocks(self) -> list[nn.Module]:
        """Return the levels, which FSDP2 shards one by one."""
        return list(self.levels)

    def forward(self, inputs: dict[str, Any], tasks: Sequence[str]) -> dict[str, Features]:
        """Run all levels, and return the features of the top level for each task."""
        state = self.prepare(inputs)
        for level in range(1, len(self.levels) + 1):
            state = self.step(state, level)
        return dict.fromkeys(tasks, self.tap(state, level))


def add_feed(hidden: Tensor, extra: Tensor | None) -> Tensor:
    """Add the feed of lower tasks to the input of a level; a feed without positions is added at every position.

    Raises:
        ValueError: The feed has positions, and the input has none, or another number of them.
    """
    if extra is None:
        return hidden
    if hidden.ndim == 4:  # [batch, channels, height, width]
        flat = add_feed(hidden.flatten(2).transpose(1, 2), extra)
        return flat.transpose(1, 2).reshape(hidden.shape)
    if extra.ndim < hidden.ndim:
        extra = extra.unsqueeze(1)
    if extra.ndim != hidden.ndim or extra.shape[1] not in (1, hidden.shape[1]):
        raise ValueError(
            f"A task with positions must feed a level with the same positions, got {list(extra.shape)} for {list(hidden.shape)}. "
            "Let it feed a level that keeps them."
        )
    return hidden + extra
