"""A text encoder that is trained from scratch in seconds."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ._hashing import HashTokenizer
from ._sizes import require_sizes
from ._word_tokenizer import WordTokenizer


class BagOfWords(nn.Module):
    """Average the embeddings of a text's words and word pairs (Joulin et al., "Bag of Tricks", EACL 2017).

    A trunk for `HardSharing` and similar encoders. Words are hashed, so there is no vocabulary to build or to store,
    unless you give a `Vocabulary`.

    Args:
        width: Size of an embedding, and of the features.
        buckets: Number of embeddings; with more of them, fewer words share one.
        pairs: Whether neighbouring words are also read as pairs.
        dropout: Share of the features that is dropped in training.
        max_words: How many words of a text are read at most.
        tokenizer: Numbers the words; then `buckets`, `pairs` and `max_words` are not used. Default: a `HashTokenizer`.

    Example:
        >>> import torch
        >>> trunk = BagOfWords(width=16, buckets=1000)
        >>> trunk(torch.tensor([[5, 7, 0], [9, 0, 0]])).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        width: int = 64,
        *,
        buckets: int = 1 << 16,
        pairs: bool = True,
        dropout: float = 0.0,
        max_words: int = 512,
        tokenizer: WordTokenizer | None = None,
    ) -> None:
        super().__init__()
        require_sizes(dropout, width=width, buckets=buckets, max_words=max_words)
        self.width = width
        self.buckets = buckets
        self.pairs = pairs
        self.dropout = dropout
        self.max_words = max_words
        self.tokenizer = tokenizer or HashTokenizer(buckets, pairs=pairs, max_words=max_words)
        self.vocabulary = self.tokenizer.vocabulary
        self.embedding = nn.EmbeddingBag(self.vocabulary, width, mode="mean", padding_idx=0)
        self.drop = nn.Dropout(dropout)

    def forward(self, input_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch width"]:
        """Average the embeddings of the numbers that are not 0."""
        # An exported EmbeddingBag rejects a batch of a single row.
        average = self._average if torch.compiler.is_exporting() else self.embedding
        averaged: Tensor = self.drop(average(input_ids))
        return averaged

    def _average(self, input_ids: Tensor) -> Tensor:
        """Compute what the EmbeddingBag does, with operations that work for any number of rows."""
        mask = (input_ids != 0).unsqueeze(-1).to(self.embedding.weight.dtype)
        words = nn.functional.embedding(input_ids, self.embedding.weight)
        return (words * mask).sum(1) / mask.sum(1).clamp(min=1)
