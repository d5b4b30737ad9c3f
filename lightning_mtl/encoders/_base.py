"""The base class of encoders, which are the shared part of a multi-task model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

Features = Tensor | tuple[Tensor, Tensor | None]
"""[batch, width]; or a pair of [batch, length, width] and a mask [batch, length]."""


@runtime_checkable
class Tokenizer(Protocol):
    """Turns texts into lists of numbers, one list per text and column."""

    padding: Mapping[str, int]
    """The padding value of each column; 0 for columns that are not named."""
    limit: int
    """Largest number of positions that are read of a text."""

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts, or pairs of texts."""
        ...

    def words(self, sentences: Sequence[Sequence[str]]) -> dict[str, list[list[int]]]:
        """Tokenize rows that are lists of words, and mark where each word starts.

        Returns:
            The encoder's columns, and "words": at each position the number of the word that starts there, or -1. Each
            word has one start; words past the limit have none.
        """
        ...


class Encoder(nn.Module, ABC):
    """The shared part of a model: it maps the input columns of a source to features for each task.

    Every kind of sharing is an encoder. `width` is the size of a feature vector. An encoder of texts has a `tokenizer`,
    which turns the texts of a `Source(text=...)` into the columns that the encoder reads; `vocabulary` is the number of
    token ids that it knows.
    """

    width: int
    tokenizer: Tokenizer | None = None
    vocabulary: int | None = None
    shares_features: ClassVar[bool] = False
    """Whether all tasks of a source get the same features, so that gradients can be measured there."""

    def blocks(self) -> list[nn.Module]:
        """Return the parts that FSDP2 shards one by one: by default the longest list of modules."""
        lists = [list(part) for part in self.modules() if isinstance(part, nn.ModuleList)]
        return max(lists, key=len, default=[])

    def build(self, sizes: dict[str, int]) -> None:
        """Create the layers whose size depends on the data; called before training, maybe again with the same sizes.

        Args:
            sizes: The size of the last axis of each input column of floating point numbers.
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
