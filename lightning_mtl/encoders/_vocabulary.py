"""A tokenizer with a vocabulary that is fitted to texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ._sizes import require_sizes
from ._word_tokenizer import WordTokenizer


class Vocabulary(WordTokenizer):
    """Number the most frequent words of the texts that it was fitted to.

    Words are lower-cased and split from punctuation; marks belong to their letters. Number 0 is padding, 1 stands for every unknown word, and the most
    frequent word is 2. Unlike in `HashTokenizer`, no two known words share a number.

    Args:
        size: How many words are kept at most; with `pairs`, words and pairs together.
        pairs: Whether pairs of neighbouring words are numbered too.
        max_words: How many words of a text are read at most.

    Raises:
        ValueError: `size` or `max_words` is below 1; or it is called before `fit`.

    Example:
        >>> vocabulary = Vocabulary(100).fit(["a fine day", "a day off"])
        >>> vocabulary(["A bad day"]), vocabulary.known
        ({'input_ids': [[2, 1, 3]]}, ['a', 'day', 'fine', 'off'])
    """

    def __init__(self, size: int = 20000, *, pairs: bool = False, max_words: int = 256) -> None:
        super().__init__(pairs=pairs, max_words=max_words)
        require_sizes(size=size)
        self.size = size
        self.vocabulary = size + 2
        self.known: list[str] | None = None
        self._numbers: dict[str, int] | None = None

    def fit(self, texts: Iterable[str]) -> Vocabulary:
        """Keep the most frequent words; equally frequent ones are taken in alphabetical order.

        Args:
            texts: The texts of the training split; they are read once.

        Raises:
            ValueError: They hold no word, or `texts` is a single string.
        """
        if isinstance(texts, str):
            raise ValueError(f"`texts` must be several texts, got the one text {texts[:40]!r}. Put it into a list.")
        counts = Counter(word for text in texts for word in self.read(text))
        if not counts:
            raise ValueError("`texts` must hold words, got none. Give the texts of the training split.")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._set_words(ranked[: self.size])
        return self

    def number(self, word: str) -> int:
        """Return the number of a word, or of a pair; 1 for an unknown one."""
        if self._numbers is None:
            raise ValueError("A `Vocabulary` must be fitted before it is used, got no words. Call fit(texts) first.")
        return self._numbers.get(word, 1)

    def description(self) -> dict[str, Any]:
        """Return its arguments and its words as plain data."""
        own = {"size": self.size, "pairs": self.pairs, "max_words": self.max_words, "known": self.known}
        return {**own, "cut": self.cut}

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> Vocabulary:
        """Create it again, with its words, from its `description`."""
        vocabulary = cls(args["size"], pairs=args["pairs"], max_words=args["max_words"])
        vocabulary.cut = args.get("cut", 1)
        if args["known"] is not None:
            vocabulary._set_words(args["known"])
        return vocabulary

    def _set_words(self, words: list[str]) -> None:
        self.known = words
        self._numbers = {word: number for number, word in enumerate(words, start=2)}
