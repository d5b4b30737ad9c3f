"""The level of each task, and what lower tasks feed to higher levels."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import require_number, require_numbers
from ..encoders import LevelledEncoder
from ..heads import ByName
from ..task import Task
from ._label_feeds import LabelEmbedding, join, labels_of

Scale = float | Mapping[Any, float]


class Hierarchy(nn.Module):
    """The levels of the tasks, the embeddings of labels that lower tasks feed to higher levels, and learned mixes of levels.

    Args:
        tasks: The tasks, in the order of their numbers.
        encoder: The encoder whose levels they name.
        tap_grad: Factor of a task's gradient where it enters the encoder, for all tasks or by name.
        level_grad: Factor of the gradient from above where it enters a level, for all levels or by level.
        feed_width: Size of a label's embedding.
        detach_feeds: Whether lower tasks get no gradient through what they feed.
        gold_steps: Steps in which the share of given labels in what is fed falls from 1 to 0.

    Raises:
        ValueError: A level that the encoder does not have, a mix of levels of different widths, a feed that does not come from
            below, or a factor for a task or level that does not exist.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: LevelledEncoder,
        *,
        tap_grad: Scale = 1.0,
        level_grad: Scale = 1.0,
        feed_width: int = 64,
        detach_feeds: bool = False,
        gold_steps: int = 0,
    ) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.keys = [task.key for task in tasks]
        """The names of their modules."""
        self.levels = [_levels(task, encoder) for task in tasks]
        self.top = [max(levels) for levels in self.levels]
        """The highest level that each task reads."""
        self.fed: dict[int, tuple[int, ...]] = {}
        """For each level that is fed the tasks that feed it."""
        for number, task in enumerate(tasks):
            self._feed(number, task.feeds_from, encoder)
        self.tap_grad = _scales("tap_grad", tap_grad, self.names, "tasks")
        numbers = _numbered(level_grad, encoder) if isinstance(level_grad, Mapping) else level_grad
        self.level_grad = _scales("level_grad", numbers, list(range(1, len(encoder.levels) + 1)), "levels")
        require_number("feed_width", feed_width, "It is the size of a label's embedding.", at_least=1, whole=True)
        require_number("gold_steps", gold_steps, "0 feeds predictions from the start.", at_least=0, whole=True)
        self.feed_width = feed_width
        self.detach_feeds = detach_feeds
        self.gold_steps = gold_steps
        self.embeddings = ByName()
        """The embeddings of the labels of tasks that feed others."""
        self.joins = nn.ModuleDict(
            {str(level): join(feed_width, encoder.entrance(level), encoder.pretrained) for level in self.fed}
        )
        self.mixes = ByName(
            {name: Mix(len(levels)) for name, levels in zip(self.names, self.levels, strict=True) if len(levels) > 1}
        )

    def _feed(self, number: int, feeds: Sequence[str], encoder: LevelledEncoder) -> None:
        name, level = self.names[number], self.top[number]
        for feeding in feeds:
            if feeding not in self.names:
                raise ValueError(
                    f"`feeds_from` of task {name!r} must name tasks, got {feeding!r}; tasks are {self.names}."
                )
            lower = self.names.index(feeding)
            if self.top[lower] >= level:
                raise ValueError(
                    f"`feeds_from` of task {name!r} must name tasks below level {level}, got {feeding!r} at level {self.top[lower]}. Give it "
                    f"a lower level, or {name!r} a higher one."
                )
            self.fed[level] = tuple(sorted({*self.fed.get(level, ()), lower}))

    def mix(self, task: str) -> dict[int, float]:
        """Return how much each level counts for a task that reads a learned mix of them.

        Raises:
            ValueError: The task reads a single level.
        """
        if task not in self.mixes:
            raise ValueError(f"`task` must have several levels, got {task!r}. Name one that does: {list(self.mixes)}.")
        mix: Mix = self.mixes[task]  # type: ignore[assignment]
        return dict(zip(self.levels[self.names.index(task)], mix.shares().tolist(), strict=True))

    def build(self, heads: Mapping[str, Any]) -> None:
        """Make the embeddings of labels, as far as heads are known."""
        for lower in {task for feeding in self.fed.values() for task in feeding}:
            name = self.names[lower]
            if name in heads and heads[name].points:
                raise ValueError(
                    f"`feeds_from` must name tasks whose labels have embeddings, got {name!r}: what {type(heads[name]).__name__} "
                    "predicts are words of the row. Leave it out."
                )
            if name in heads and name not in self.embeddings:
                self.embeddings[name] = LabelEmbedding(labels_of(heads[name]), self.feed_width)

    def succeed(self, old: Hierarchy) -> None:
        """Take over what a hierarchy without the last task has learned; new feeds start at zero, so that other tasks do not change.

        Raises:
            ValueError: The last task adds feeds to a level that is fed already.
        """
        for level, feeding in self.fed.items():
            if level not in old.fed:
                nn.init.zeros_(self.joins[str(level)].weight)  # type: ignore[arg-type]
            elif feeding != old.fed[level]:
                raise ValueError(
                    f"`feeds_from` of task {self.names[-1]!r} must be those of the other tasks at level {level}, which is fed by "
                    f"{[self.names[task] for task in old.fed[level]]}: more would change what these know. Leave the others out."
                )
        self.embeddings = old.embeddings
        self.joins.update(dict(old.joins.items()))
        self.mixes.update(dict(old.mixes.items()))

    def closure(self, tasks: Iterable[int]) -> set[int]:
        """Return the tasks that must be run to predict these: themselves, and those that feed the levels up to theirs."""
        wanted = set(tasks)
        top = max((self.top[task] for task in wanted), default=0)
        return wanted | {lower for level, feeding in self.fed.items() if level <= top for lower in feeding}

    def rows(self, tasks: Iterable[int], rows: Mapping[int, Tensor], count: int) -> dict[int, Tensor]:
        """Return which rows of a batch must reach which level.

        Args:
            tasks: The tasks that have labels in it.
            rows: Numbers of the rows that have one, of tasks that not all rows have a label for.
            count: Number of all rows.

        Returns:
            For each level that not all rows reach, the numbers of those that do, in order.
        """
        plan: dict[int, Tensor] = {}
        needed: Tensor | None = None
        by_level = sorted(tasks, key=lambda task: -self.top[task])
        for level in range(max(map(self.top.__getitem__, by_level), default=0), 0, -1):
            here = [task for task in by_level if self.top[task] == level]
            if any(task not in rows for task in here):
                break
            if here:
                parts = [rows[task] for task in here] + ([] if needed is None else [needed])
                needed = torch.unique(torch.cat(parts)) if len(parts) > 1 else torch.unique(parts[0])
            assert needed is not None
            if len(needed) == count:
                break
            plan[level] = needed
        return plan

    def up_to(self, top: int, closure: Iterable[int]) -> Hierarchy:
        """Copy it for some tasks, without what they do not need."""
        kept = copy.copy(self)
        names = {self.names[i] for i in closure}
        wanted = {
            "embeddings": [name for name in self.embeddings if name in names],
            "joins": [level for level in self.joins if int(level) <= top],
            "mixes": [name for name in self.mixes if name in names],
        }
        kept._modules = {
            part: type(getattr(self, part))({name: getattr(self, part)[name] for name in found})
            for part, found in wanted.items()
        }
        kept.fed = {level: feeding for level, feeding in self.fed.items() if level <= top}
        return copy.deepcopy(kept)

    def gold_share(self, step: int) -> float:
        """Return the share of given labels in what is fed, in this step of training."""
        return max(0.0, 1 - step / self.gold_steps) if self.gold_steps else 0.0


class Mix(nn.Module):
    """A learned mix of levels: their mean with weights that add up to 1, times a factor (Peters et al., NAACL 2018, equation 1).

    Args:
        count: Number of levels.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(count))
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        mixed: Tensor = sum(share * values for share, values in zip(self.shares(), levels, strict=True))
        return self.factor * mixed

    def shares(self) -> Tensor:
        """Return the weight of each level."""
        return self.logits.softmax(0)


def _levels(task: Task, encoder: LevelledEncoder) -> tuple[int, ...]:
    wanted = [task.level] if isinstance(task.level, int | str) else task.level
    try:
        found = tuple(sorted({encoder.number(level) for level in wanted}))
    except ValueError as error:
        raise ValueError(f"Task {task.name!r}: {error}") from None
    widths = {encoder.widths[level - 1] for level in found}
    if len(widths) > 1:
        raise ValueError(
            f"`level` of task {task.name!r} must name levels of one width, got {list(found)} of widths "
            f"{[encoder.widths[level - 1] for level in found]}. Name one level."
        )
    return found


def _numbered(scales: Mapping[Any, float], encoder: LevelledEncoder) -> dict[int, float]:
    found = {encoder.number(level): scale for level, scale in scales.items()}
    if len(found) < len(scales):
        raise ValueError(f"`level_grad` must name each level once, got {list(scales)}. Leave one of its names out.")
    return found


def _scales(name: str, given: Scale, known: Sequence[Any], called: str) -> dict[Any, float]:
    if not isinstance(given, Mapping):
        given = dict.fromkeys(known, given)
    if unknown := [key for key in given if key not in known]:
        raise ValueError(f"`{name}` must name {called}, got {unknown}; {called} are {list(known)}.")
    require_numbers(name, given, "0 lets no gradient through.", at_least=0)
    return {key: float(given.get(key, 1.0)) for key in known}
