"""Which rows make an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Shots = int | Sequence[int]


@dataclass(frozen=True)
class EpisodeRows:
    """The rows of an episode, and the number that each one's class has in it.

    Args:
        support: Numbers of the rows that are learned from.
        query: Numbers of the rows that are judged by.
        support_labels: Class of each row of the support, from 0.
        query_labels: Class of each row of the query.
    """

    support: np.ndarray
    query: np.ndarray
    support_labels: np.ndarray
    query_labels: np.ndarray


class EpisodeSampler:
    """Draws episodes of some classes with some examples of each (N-way K-shot; Vinyals et al. 2016, section 2).

    An episode is a function of seed, split, step and its number in the step: nothing else is remembered, and ranks that draw different
    numbers draw different episodes.

    Args:
        rows: The numbers of each class's rows.
        ways: Classes of an episode, in random order.
        shots: Examples of each class in the support; two numbers for one in between that each episode draws.
        queries: Examples of each class in the query.
        balanced: Whether each class has as many; else the rows of an episode's classes are drawn as they come, but for one of each class in the support.
        seed: What the draws depend on.

    Raises:
        ValueError: A number below 1, more ways than classes, or a class with too few rows.

    Example:
        >>> sampler = EpisodeSampler({"a": [0, 1, 2], "b": [3, 4, 5], "c": [6, 7, 8]}, ways=2, shots=1, queries=2, seed=1)
        >>> episode = sampler.episode("train", step=0, number=0)
        >>> len(episode.support), len(episode.query), sorted(set(episode.query_labels.tolist()))
        (2, 4, [0, 1])
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[int]],
        *,
        ways: int = 5,
        shots: Shots = 1,
        queries: int = 15,
        balanced: bool = True,
        seed: int = 0,
    ) -> None:
        refuse_sizes(ways, shots, queries)
        self.ways, self.queries, self.balanced, self.seed = ways, queries, balanced, seed
        self.shots = (shots, shots) if isinstance(shots, int) else (int(shots[0]), int(shots[1]))
        self.classes = list(rows)
        self.rows = [np.asarray(rows[name]) for name in self.classes]
        if ways > len(rows):
            raise ValueError(f"`ways` must be at most the {len(rows)} classes there are, got {ways}. Take fewer.")
        needed = self.shots[1] + queries
        few = {name: len(of) for name, of in rows.items() if len(of) < needed}
        if few:
            shown = dict(list(few.items())[:5])
            raise ValueError(
                f"Each class must have {needed} rows, `shots` + `queries`, got fewer in {len(few)} of {len(rows)}: {shown}. Take fewer "
                "shots or queries, or leave these classes out."
            )

    def episode(self, split: str, step: int, number: int) -> EpisodeRows:
        """Draw an episode.

        Args:
            split: Name of the split.
            step: Number of the step.
            number: Number of the episode in the step.
        """
        key = [self.seed, *split.encode(), step, number]
        draw = np.random.default_rng(key)
        classes = draw.choice(len(self.rows), self.ways, replace=False)
        low, high = self.shots
        shots = low if low == high else int(draw.integers(low, high + 1))
        picked = self._evenly(draw, classes, shots) if self.balanced else self._naturally(draw, classes, shots)
        return EpisodeRows(*picked)

    def _evenly(self, draw: np.random.Generator, classes: np.ndarray, shots: int) -> tuple[np.ndarray, ...]:
        each = np.stack([draw.permutation(self.rows[of])[: shots + self.queries] for of in classes])
        labels = np.arange(self.ways)
        support, query = each[:, :shots].ravel(), each[:, shots:].ravel()
        mixed = draw.permutation(len(support)), draw.permutation(len(query))
        return (
            support[mixed[0]],
            query[mixed[1]],
            labels.repeat(shots)[mixed[0]],
            labels.repeat(self.queries)[mixed[1]],
        )

    def _naturally(self, draw: np.random.Generator, classes: np.ndarray, shots: int) -> tuple[np.ndarray, ...]:
        rows = np.concatenate([self.rows[of] for of in classes])
        labels = np.concatenate([np.full(len(self.rows[of]), label) for label, of in enumerate(classes)])
        order = draw.permutation(len(rows))
        first = np.array([order[labels[order] == label][0] for label in range(self.ways)])
        rest = order[~np.isin(order, first)]
        more = self.ways * (shots - 1)
        support = draw.permutation(np.concatenate([first, rest[:more]]))
        query = rest[more : more + self.ways * self.queries]
        return rows[support], rows[query], labels[support], labels[query]


def refuse_sizes(ways: int, shots: Shots, queries: int) -> None:
    """Look whether the sizes of an episode can be.

    Raises:
        ValueError: They cannot.
    """
    for name, value in (("ways", ways), ("queries", queries)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    pair = (shots, shots) if isinstance(shots, int) else tuple(shots)
    if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
        raise ValueError(
            f"`shots` must be at least 1, or two such numbers of which the second is not below the first, got {shots}."
        )
