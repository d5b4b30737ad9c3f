"""What every encoder has: the shared part of a multi-task model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

Features = Tensor | tuple[Tensor, Tensor | None]
"""[batch, width]; or [batch, length, width] with a mask [batch, length] beside it."""


@runtime_checkable
class Tokenizer(Protocol):
    """Turns texts into lists of numbers, one list per text and column."""

    padding: Mapping[str, int]
    """What fills the shorter lists of each column; of columns that are left out, 0."""
    limit: int
    """How many positions of a text are read at most."""

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts, or pairs of texts."""
        ...

    def words(self, sentences: Sequence[Sequence[str]]) -> dict[str, list[list[int]]]:
        """Tokenize rows that are lists of words, and say where each word starts.

        Returns:
            The encoder's columns, and "words": at each position the number of the word that starts there, or -1. Each
            word has one start; words past the limit have none.
        """
        ...


class Encoder(nn.Module, ABC):
    """The shared part of a model: from a source's input columns to features for each task.

    Every kind of sharing is an encoder. `width` is the size of a feature vector, `tokenizer` what turns the texts of a
    `Source(text=...)` into the columns that the encoder reads, where it reads text, and `vocabulary` how many numbers
    of a tokenizer it knows.
    """

    width: int
    tokenizer: Tokenizer | None = None
    vocabulary: int | None = None
    shares_features: ClassVar[bool] = False
    """Whether all tasks that read a source get the same features, so that their gradients meet there."""

    def blocks(self) -> list[nn.Module]:
        """Give the parts that are cut over the ranks one by one (FSDP2): by default the longest list of modules."""
        lists = [list(part) for part in self.modules() if isinstance(part, nn.ModuleList)]
        return max(lists, key=len, default=[])

    def build(self, sizes: dict[str, int]) -> None:
        """Make what has to wait for the data; called before training, and then again with the same sizes.

        Args:
            sizes: For each input column of floating point numbers the size of its last axis.
        """

    @abstractmethod
    def forward(self, inputs: dict[str, Any], tasks: Sequence[str]) -> dict[str, Features]:
        """Compute the features that each of these tasks reads.

        Args:
            inputs: The input columns of one source.
            tasks: Names of the tasks that read this source and are in this step.

        Returns:
            For each task [batch, width], or ([batch, length, width], mask of [batch, length]).
        """
