"""A random sketch of gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._cut import wide_type


class Sketch:
    """A random linear map of gradients to a few numbers, which keeps inner products on average.

    Each entry is added to or subtracted from one of `size` sums, both drawn at random (Charikar et al., "Finding frequent items in
    data streams", ICALP 2002). It is linear, and the same on all ranks: so ranks add up sketches as they add up gradients. The
    standard error of a cosine c is about sqrt((1 + c**2) / size).

    Args:
        parameters: The parameters of the gradients.
        size: Number of sums.
        seed: The seed of the map.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.parameters = list(parameters)
        self.size = size
        self._places = [
            # The first half is added, the second subtracted.
            torch.randint(2 * size, (p.numel(),), generator=generator, dtype=torch.int32).to(p.device)
            for p in parameters
        ]

    def __call__(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Map the gradients of one task: [size]."""
        known = [(at, of) for at, of in zip(self._places, gradients, strict=True) if of is not None]
        like = known[0][1] if known else torch.zeros((), device=self._places[0].device)
        sums = torch.zeros(2 * self.size, dtype=wide_type(like.dtype), device=like.device)
        for places, gradient in known:
            sums.index_add_(0, places, gradient.flatten().to(sums.dtype))
        return sums[: self.size] - sums[self.size :]
