"""A tokenizer that needs no vocabulary."""

from __future__ import annotations

import zlib
from typing import Any

from ._sizes import require_sizes
from ._word_tokenizer import WordTokenizer


class HashTokenizer(WordTokenizer):
    """Number the words of a text by a hash, and on request also the pairs of neighbouring words.

    Words are lower-cased and split from punctuation; marks belong to their letters. Number 0 is reserved for padding. The hash (CRC-32) is the same in
    every process and on every machine.

    Args:
        buckets: How many numbers there are, without the padding.
        pairs: Whether pairs of neighbouring words are numbered too.
        max_words: How many words of a text are read at most.

    Raises:
        ValueError: `buckets` or `max_words` is below one.

    Example:
        >>> HashTokenizer(1000)(["A small step", "!"])
        {'input_ids': [[908, 180, 717, 328, 96], [972]]}
        >>> HashTokenizer(1000, pairs=False).words([["A", "small-ish", "step"]])["words"]
        [[0, 1, -1, -1, 2]]
    """

    def __init__(self, buckets: int = 1 << 16, *, pairs: bool = True, max_words: int = 512) -> None:
        super().__init__(pairs=pairs, max_words=max_words)
        require_sizes(buckets=buckets)
        self.buckets = buckets
        self.vocabulary = buckets + 1

    def description(self) -> dict[str, Any]:
        """Return its arguments, and how it cuts texts, as plain data."""
        return {"buckets": self.buckets, "pairs": self.pairs, "max_words": self.max_words, "cut": self.cut}

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> HashTokenizer:
        """Create it again from its `description`."""
        tokenizer = cls(args["buckets"], pairs=args["pairs"], max_words=args["max_words"])
        tokenizer.cut = args.get("cut", 1)
        return tokenizer

    def number(self, word: str) -> int:
        """Hash a word, or a pair."""
        return 1 + zlib.crc32(word.encode()) % self.buckets
