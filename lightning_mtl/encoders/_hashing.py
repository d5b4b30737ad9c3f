"""A tokenizer that needs no vocabulary."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise

_WORDS = re.compile(r"\w+|[^\w\s]")


class HashTokenizer:
    """Number the words of a text, and on request its pairs of neighbouring words, by a hash.

    Words are lower-cased and split from punctuation. Number 0 is left for padding. The hash is the same in every
    process and on every machine (CRC-32).

    Args:
        buckets: How many numbers there are beside the padding.
        pairs: Whether each two neighbouring words are numbered too.
        max_words: How many words of a text are read.

    Raises:
        ValueError: `buckets` or `max_words` is below one.

    Example:
        >>> HashTokenizer(1000)(["A small step", "!"])
        {'input_ids': [[908, 180, 717, 328, 96], [972]]}
    """

    def __init__(self, buckets: int = 1 << 16, *, pairs: bool = True, max_words: int = 512) -> None:
        if buckets < 1 or max_words < 1:
            raise ValueError(f"`buckets` and `max_words` must be at least 1, got {buckets} and {max_words}.")
        self.buckets = buckets
        self.pairs = pairs
        self.max_words = max_words
        self.padding: Mapping[str, int] = {"input_ids": 0}

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts; of a pair of texts, one after the other with a mark between them."""
        if pairs is not None:
            texts = [f"{first} \u241e {second}" for first, second in zip(texts, pairs, strict=True)]
        return {"input_ids": [self._ids(text) for text in texts]}

    def _ids(self, text: str) -> list[int]:
        words = _WORDS.findall(text.lower())[: self.max_words]
        if self.pairs:
            words += [f"{first} {second}" for first, second in pairwise(words)]
        return [1 + zlib.crc32(word.encode()) % self.buckets for word in words] or [0]
