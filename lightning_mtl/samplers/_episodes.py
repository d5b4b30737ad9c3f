"""Which rows make an episode."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._checks import require_number, require_range

Shots = int | Sequence[int]


@dataclass(frozen=True)
class EpisodeRows:
    """The rows of an episode, and the number of each row's class in it.

    Args:
        support: Numbers of the rows to adapt to.
        query: Numbers of the rows to evaluate on.
        support_labels: Class of each row of the support, from 0.
        query_labels: Class of each row of the query.
    """

    support: np.ndarray
    query: np.ndarray
    support_labels: np.ndarray
    query_labels: np.ndarray


class EpisodeSampler:
    """Draws episodes of some classes with some examples of each (N-way K-shot; Vinyals et al. 2016, section 2).

    An episode is a function of seed, split, step and its number in the step. There is no other state, and ranks that draw other
    numbers draw other episodes.

    Args:
        rows: The numbers of the rows of each class.
        ways: Classes of an episode, in random order.
        shots: Examples of each class in the support; with two numbers, each episode draws a number from the first to the second.
        queries: Examples of each class in the query.
        balanced: Whether all classes of an episode have equally many examples; else its rows are drawn at random from all rows of
            its classes, with at least one of each class in the support.
        seed: Other seeds draw other episodes.

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
        require_number("seed", seed, "0 is the default.", at_least=0, whole=True)
        self.ways, self.queries, self.balanced, self.seed = ways, queries, balanced, seed
        self.shots = (int(shots[0]), int(shots[1])) if isinstance(shots, Collection) else (shots, shots)
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
        generator = np.random.default_rng([self.seed, *split.encode(), step, number])
        classes = generator.choice(len(self.rows), self.ways, replace=False)
        low, high = self.shots
        shots = low if low == high else int(generator.integers(low, high + 1))
        draw = self._balanced if self.balanced else self._unbalanced
        return EpisodeRows(*draw(generator, classes, shots))

    def _balanced(self, generator: np.random.Generator, classes: np.ndarray, shots: int) -> tuple[np.ndarray, ...]:
        each = np.stack([generator.permutation(self.rows[number])[: shots + self.queries] for number in classes])
        labels = np.arange(self.ways)
        support, query = each[:, :shots].ravel(), each[:, shots:].ravel()
        orders = generator.permutation(len(support)), generator.permutation(len(query))
        return (
            support[orders[0]],
            query[orders[1]],
            labels.repeat(shots)[orders[0]],
            labels.repeat(self.queries)[orders[1]],
        )

    def _unbalanced(self, generator: np.random.Generator, classes: np.ndarray, shots: int) -> tuple[np.ndarray, ...]:
        rows = np.concatenate([self.rows[number] for number in classes])
        labels = np.concatenate([np.full(len(self.rows[number]), label) for label, number in enumerate(classes)])
        order = generator.permutation(len(rows))
        first = np.array([order[labels[order] == label][0] for label in range(self.ways)])
        rest = order[~np.isin(order, first)]
        more = self.ways * (shots - 1)
        support = generator.permutation(np.concatenate([first, rest[:more]]))
        query = rest[more : more + self.ways * self.queries]
        return rows[support], rows[query], labels[support], labels[query]


def refuse_sizes(ways: int, shots: Shots, queries: int) -> None:
    """Reject sizes that no episode can have.

    Raises:
        ValueError: A number is below 1, or the two numbers of `shots` are in the wrong order.
    """
    require_number("ways", ways, "5 are usual.", at_least=1, whole=True)
    require_number("queries", queries, "15 are usual.", at_least=1, whole=True)
    remedy = "1 and 5 are usual; (1, 10) draws a number."
    given: object = shots
    if isinstance(given, Collection) and not isinstance(given, str):
        require_range("shots", shots, remedy, at_least=1, whole=True)
    else:
        require_number("shots", shots, remedy, at_least=1, whole=True)
