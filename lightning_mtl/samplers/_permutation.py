"""A random order of which any part can be computed alone."""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Int64
from torch import Tensor

_SMALL = 65_536
"""Rows up to which a whole order is drawn and kept."""
_ROUNDS = 3
_FIRST_FACTOR, _SECOND_FACTOR = 0x5851F42D4C957F2D, 0x14057B7EF767814F
"""Odd numbers, by which products mix the bits of a number."""


def key(*parts: object) -> int:
    """Return a hash of these parts as a number of 63 bits, the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Permutation:
    """A permutation of `range(rows)`, of which any part can be computed alone.

    Small permutations are drawn as a whole. A large one is a Feistel network over the next power of two, with `seed` as its key;
    numbers outside the range pass through it again until they are inside (Black and Rogaway, "Ciphers with arbitrary finite
    domains", CT-RSA 2002, sec. 3 and 4), so that no order of 10 million rows is kept in memory.

    Args:
        rows: How many numbers are permuted.
        seed: Other seeds give other permutations.

    Example:
        >>> order = Permutation(1_000_000, seed=1)
        >>> parts = [order.part(0, 400_000), order.part(400_000, 1_000_000)]
        >>> bool((torch.cat(parts).sort().values == torch.arange(1_000_000)).all())
        True
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self._whole = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)) if rows <= _SMALL else None
        bits = max(rows - 1, 1).bit_length()
        self._low, self._high = bits // 2, bits - bits // 2
        self._keys = [key(seed, number) for number in range(2 * _ROUNDS)]

    def part(self, start: int, stop: int) -> Int64[Tensor, " rows"]:
        """Return the numbers at the places from `start` up to `stop`."""
        if self._whole is not None:
            return self._whole[start:stop]
        numbers = self._mix(torch.arange(start, stop))
        while len(outside := (numbers >= self.rows).nonzero().squeeze(1)):
            numbers[outside] = self._mix(numbers[outside])
        return numbers

    def _mix(self, numbers: Tensor) -> Tensor:
        low, high = numbers & ((1 << self._low) - 1), numbers >> self._low
        for even, odd in zip(self._keys[::2], self._keys[1::2], strict=True):
            low = low ^ _scramble(high, even, self._low)
            high = high ^ _scramble(low, odd, self._high)
        return high << self._low | low


def _scramble(values: Tensor, secret: int, bits: int) -> Tensor:
    """Turn numbers into others of so many bits; each bit depends on all bits of its number, and products overflow."""
    mixed = (values + secret) * _FIRST_FACTOR
    mixed = (mixed ^ (mixed >> 29)) * _SECOND_FACTOR
    return (mixed >> (63 - bits)) & ((1 << bits) - 1)
