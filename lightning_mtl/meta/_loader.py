"""A loader of `{source: episodes}`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset

from ..data import StepLoader

EpisodePlan = tuple[int, int, Sequence[int]]
"""Number of a step, how many episodes it has on all ranks, and the numbers of the episodes to draw."""


@runtime_checkable
class Drawing(Protocol):
    """Draws the episodes of a source."""

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Draw episodes of a step.

        Args:
            split: Name of the split.
            step: Number of the step.
            count: How many episodes the step has on all ranks.
            picked: Numbers of the episodes to draw.
        """
        ...

    def reseed(self, seed: int) -> None:
        """Change to the episodes of another seed."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what determines the episodes beside the seed, as plain data."""
        ...


class EpisodeLoader(StepLoader):
    """Iterates over `{source: episodes}`; its state is how many steps it delivered, however far workers have read ahead.

    Args:
        drawings: What draws the episodes of each source.
        split: Name of the split.
        plans: The plans of a pass, from the step with this number on.
        length: Steps of a pass.
        num_workers: Processes that read ahead.
    """

    def __init__(
        self,
        drawings: Mapping[str, Drawing],
        split: str,
        plans: Callable[[int], Iterator[EpisodePlan]],
        length: int,
        *,
        num_workers: int = 0,
    ) -> None:
        self.delivered = 0
        self._length = length
        super().__init__(_PlannedEpisodes(drawings, split), _Plans(self, plans), num_workers=num_workers)

    def __len__(self) -> int:
        return self._length

    def deliver(self) -> None:
        """Count the step that is delivered next."""
        self.delivered += 1

    def state_dict(self) -> dict[str, int]:
        """Return how many steps were delivered; one that is not over does not count."""
        return {"delivered": self.delivered - self.is_in_step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume after the last delivered step."""
        self.delivered = state["delivered"]


class _Plans:
    """The plans of a pass, from the step that comes next."""

    def __init__(self, loader: EpisodeLoader, plans: Callable[[int], Iterator[EpisodePlan]]) -> None:
        self._loader, self._plans = loader, plans

    def __iter__(self) -> Iterator[EpisodePlan]:
        return self._plans(self._loader.delivered)


class _PlannedEpisodes(Dataset[dict[str, Any]]):
    """Draws the batch of a step's plan."""

    def __init__(self, drawings: Mapping[str, Drawing], split: str) -> None:
        self.drawings, self.split = dict(drawings), split

    def __getitem__(self, plan: EpisodePlan) -> dict[str, Any]:
        return {name: drawing.draw(self.split, *plan) for name, drawing in self.drawings.items()}
