"""A sampler for evaluation: every row once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch.utils.data import DistributedSampler

from .._checks import require_number
from ._arguments import require_ranks
from ._plan import Plan
from ._stream import Stream


class EvaluationSampler(DistributedSampler[Plan]):
    """Plan a pass over all sources at once; a source that ends early is missing from the later steps.

    Args:
        streams: The rows of each source.
        rows: Rows of each source, up to the end of a batch. Default: all.
        num_replicas: Number of ranks.
        rank: Number of this rank.

    Example:
        >>> from lightning_mtl.samplers import Rows
        >>> list(EvaluationSampler({"a": Rows(3, 2, shuffle=False), "b": Rows(1, 2, shuffle=False)}))
        [{'a': [0, 1], 'b': [0]}, {'a': [2]}]
        >>> list(EvaluationSampler({"a": Rows(3, 2, shuffle=False)}, rows=1))
        [{'a': [0, 1]}]
    """

    def __init__(
        self, streams: Mapping[str, Stream], *, rows: int | None = None, num_replicas: int = 1, rank: int = 0
    ) -> None:
        require_ranks(rank, num_replicas)
        remedy = "Leave it out for all."
        require_number("rows", rows, remedy, at_least=1, whole=True, optional=True)
        self.streams, self.num_replicas, self.rank, self.epoch = dict(streams), num_replicas, rank, 0
        self.batches = {name: stream.batches or 0 for name, stream in streams.items()}
        if rows is not None:
            enough = {name: -(-rows // stream.batch(0)) for name, stream in streams.items()}
            self.batches = {name: min(batches, enough[name]) for name, batches in self.batches.items()}

    def __len__(self) -> int:
        return max(self.batches.values())

    def __iter__(self) -> Iterator[Plan]:
        """Plan the steps of the pass; they are the same each time."""
        places = dict.fromkeys(self.streams, 0)
        for step in range(len(self)):
            plan = {}
            for name in (name for name, batches in self.batches.items() if step < batches):
                count = self.streams[name].batch(places[name])
                plan[name] = self.streams[name].take(places[name], count, self.rank, self.num_replicas)
                places[name] += count
            yield plan

    def deliver(self) -> None:
        """Do nothing: every evaluation starts from the first step."""
