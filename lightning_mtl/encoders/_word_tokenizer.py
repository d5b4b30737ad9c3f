"""The base class of tokenizers that read whole words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ._cut import CUT, words_of
from ._sizes import require_sizes


class WordTokenizer(ABC):
    """Number the words of a text, and on request also the pairs of neighbouring words.

    Words are lower-cased and split from punctuation; marks belong to their letters. Number 0 is reserved for padding. A subclass
    defines the number of a word (`number`) and how many numbers there are (`vocabulary`).

    Args:
        pairs: Whether pairs of neighbouring words are numbered too.
        max_words: How many words of a text are read at most.

    Raises:
        ValueError: `max_words` is below 1.
    """

    vocabulary: int
    """How many numbers there are, including the 0 of the padding."""
    cut: int
    """The rule by which texts are cut into words; a checkpoint keeps its own."""

    def __init__(self, *, pairs: bool, max_words: int) -> None:
        require_sizes(max_words=max_words)
        self.pairs = pairs
        self.max_words = max_words
        self.cut = CUT
        self.limit = 2 * max_words - 1 if pairs else max_words
        self.padding: Mapping[str, int] = {"input_ids": 0, "words": -1}

    @abstractmethod
    def number(self, word: str) -> int:
        """Return the number, from 1 to `vocabulary` - 1, of a word in lower case, or of two words with a space between."""

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts; the two texts of a pair are joined by a separator."""
        if pairs is not None:
            texts = [f"{first} \u241e {second}" for first, second in zip(texts, pairs, strict=True)]
        return {"input_ids": [[self.number(word) for word in self.read(text)] or [0] for text in texts]}

    def words(self, sentences: Sequence[Sequence[str]]) -> dict[str, list[list[int]]]:
        """Tokenize rows that are lists of words, and mark where each word starts.

        A word is split as it would be within a text; a word of blanks only is numbered as an unknown word.

        Args:
            sentences: The words of each row.

        Returns:
            "input_ids", and "words": at each position the number of the word that starts there, or -1.

        Raises:
            ValueError: `pairs` is true.
        """
        if self.pairs:
            raise ValueError(
                "`pairs` must be False where words have positions, got True: a pair has none. Use Recurrent, or a "
                "tokenizer with pairs=False."
            )
        rows = [self._numbers_and_starts(sentence) for sentence in sentences]
        return {"input_ids": [numbers for numbers, _ in rows], "words": [starts for _, starts in rows]}

    def read(self, text: str) -> list[str]:
        """Split a text into words; with `pairs`, add the pairs of neighbouring words."""
        words = words_of(text, self.cut)[: self.max_words]
        if self.pairs:
            words += [f"{first} {second}" for first, second in pairwise(words)]
        return words

    def _numbers_and_starts(self, sentence: Sequence[str]) -> tuple[list[int], list[int]]:
        parts = [self.read(word) or [""] for word in sentence]
        numbers = [self.number(part) for word in parts for part in word][: self.limit]
        starts = [-1 if k else i for i, word in enumerate(parts) for k in range(len(word))][: self.limit]
        return numbers or [0], starts or [-1]
