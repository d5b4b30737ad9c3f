"""What every encoder of several levels has: it can be run level by level."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ._base import Encoder, Features


@dataclass(frozen=True)
class State:
    """How far the rows of a batch have come.

    Args:
        hidden: What the last level gave, [batch, ...].
        mask: Which positions count, [batch, length]. Default: all of them.
        context: What the levels above read besides, e.g. inputs for shortcuts; tensors of two dimensions or more that
            are as long as the batch have a row for each row of it.
    """

    hidden: Tensor
    mask: Tensor | None = None
    context: Any = None

    def rows(self, numbers: Tensor) -> State:
        """Keep these rows alone."""
        count = len(self.hidden)

        def kept(part: Any) -> Any:
            has_rows = isinstance(part, Tensor) and part.ndim > 1 and len(part) == count
            return part[numbers] if has_rows else part

        return State(self.hidden[numbers], kept(self.mask), tree_map(kept, self.context))


class LevelledEncoder(Encoder):
    """An encoder of several levels, numbered from 1 at the bottom; level 0 is what all of them stand on.

    `HierarchicalModule` runs it level by level, so that tasks are supervised where they belong, and nothing is run above
    the last task of a batch. In `MultiTaskModule` all tasks read the top.

    Args:
        levels: A module for each level, which holds all of its parameters.
        widths: Size of the features of each level.
        stages: Names of the levels. Default: they go by their numbers.

    Raises:
        ValueError: There is no level, or there are not as many widths or names as levels.
    """

    shares_features: ClassVar[bool] = True
    pretrained: bool = False
    """Whether it comes with weights that must not be disturbed: feeds then begin at zero."""

    def __init__(self, levels: Iterable[nn.Module], widths: Sequence[int], stages: Sequence[str] = ()) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
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
        """Make what the first level reads (embeddings, masks).

        Args:
            inputs: The input columns of one source.
        """

    @abstractmethod
    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run one level.

        Args:
            state: What `prepare`, or `step` for the level below, gave.
            level: Its number, from 1.
            extra: What lower tasks feed in: it is added to the level's input, [batch, width] or [batch, length, width].
        """

    def entrance(self, level: int) -> int:
        """Give the size of what can be added to the input of this level."""
        return self.widths[max(level - 2, 0)]

    def tap(self, state: State, level: int) -> Features:
        """Give what heads read of a level that was just run; places of maps are positions.

        Args:
            state: What `step` gave.
            level: The level.
        """
        values = state.hidden
        if values.ndim == 4:  # [batch, channels, height, width]
            values = values.flatten(2).transpose(1, 2)
        return values if values.ndim < 3 else (values, state.mask)

    def tapped(self, levels: Iterable[int]) -> None:
        """Be told which levels heads will read, before training."""

    def number(self, level: int | str) -> int:
        """Find a level by its number, negative from the top, or its name.

        Raises:
            ValueError: There is no such level.
        """
        count = len(self.levels)
        if level in self.stages:
            return self.stages.index(str(level)) + 1
        if isinstance(level, str) and level.removeprefix("-").isdigit():
            level = int(level)  # keys of plain data are texts
        if isinstance(level, int) and 1 <= abs(level) <= count:
            return level if level > 0 else count + 1 + level
        names = f", or one of the names {list(self.stages)}" if self.stages else ""
        raise ValueError(
            f"`level` must be a number from 1 to {count}, or -1 to -{count} from the top{names}, got {level!r}."
        )

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        """Give the parameters of a level; of level 0 those that belong to none."""
        if level:
            return list(self.levels[level - 1].parameters())
        above = {id(p) for p in self.levels.parameters()}
        return [p for p in self.parameters() if id(p) not in above]

    def shared_parts(self) -> list[nn.Module]:
        """Give what tasks share, whose gradients a balancer weighs."""
        return [self]

    def levelled(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        """Give for each level, 0 first, its module and all its parameters."""
        return [(part, self.parameters_of(level)) for level, part in enumerate([self, *self.levels])]

    def freeze(self, level: int | str) -> None:
        """Let a level and all below keep what they know: no gradient, and while training no dropout and no running average.

        It is called before training. Nothing is run backward below the lowest level that learns, unless something that learns
        is fed in there.

        Args:
            level: Its number, negative from the top, or its name; 0 freezes only what all levels stand on.

        Raises:
            ValueError: There is no such level.
        """
        for number in range(1 if level == 0 else self.number(level) + 1):
            for p in self.parameters_of(number):
                p.requires_grad_(False)

    @property
    def frozen(self) -> int:
        """The level up to which nothing learns; -1 where all levels do."""
        found = -1
        for level in range(len(self.levels) + 1):
            parameters = self.parameters_of(level)
            if any(p.requires_grad for p in parameters):
                break
            found = level if parameters else found
        return found

    def frozen_parts(self) -> list[nn.Module]:
        """Give what is evaluated as it is while the rest is trained."""
        below = [part for part in self.children() if part is not self.levels]
        return [] if self.frozen < 0 else [*below, *self.levels[: self.frozen]]

    def up_to(self, level: int) -> LevelledEncoder:
        """Copy it without the levels above this one."""
        lower = copy.copy(self)
        lower._modules = {**self._modules, "levels": self.levels[:level]}
        lower = copy.deepcopy(lower)
        lower.widths, lower.stages, lower.width = self.widths[:level], self.stages[:level], self.widths[level - 1]
        return lower

    def blocks(self) -> list[nn.Module]:
        """Give the levels, which are cut over the ranks one by one (FSDP2)."""
        return list(self.levels)

    def forward(self, inputs: dict[str, Any], tasks: Sequence[str]) -> dict[str, Features]:
        """Run all levels, and give each task the features of the top."""
        state = self.prepare(inputs)
        for level in range(1, len(self.levels) + 1):
            state = self.step(state, level)
        return dict.fromkeys(tasks, self.tap(state, level))


def added(hidden: Tensor, extra: Tensor | None) -> Tensor:
    """Add what lower tasks feed in; what has no positions is added at each of them.

    Raises:
        ValueError: It has positions, and the input has none, or others.
    """
    if extra is None:
        return hidden
    if hidden.ndim == 4:  # [batch, channels, height, width]
        flat = added(hidden.flatten(2).transpose(1, 2), extra)
        return flat.transpose(1, 2).reshape(hidden.shape)
    if extra.ndim < hidden.ndim:
        extra = extra.unsqueeze(1)
    if extra.ndim != hidden.ndim or extra.shape[1] not in (1, hidden.shape[1]):
        raise ValueError(
            f"A task with positions must feed a level with the same positions, got {list(extra.shape)} for {list(hidden.shape)}. "
            "Let it feed a level that keeps them."
        )
    return hidden + extra
