"""A small sequence encoder that is trained from scratch."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ._hashing import HashTokenizer
from ._sizes import require_sizes
from ._word_tokenizer import WordTokenizer


class Recurrent(nn.Module):
    """Read the words of a text in both directions with gated recurrent units (Cho et al., EMNLP 2014).

    A trunk for `HardSharing` and similar encoders. It returns the features of every word and a mask, so heads can pool them
    or predict per word.

    Args:
        width: Size of the features; half of it for each direction.
        embedding: Size of a word's embedding.
        layers: Number of recurrent layers.
        buckets: Number of embeddings; with more of them, fewer words share one.
        dropout: Share of the embeddings and features that is dropped in training.
        max_words: How many words of a text are read at most.
        tokenizer: Numbers the words, one by one; then `buckets` and `max_words` are not used. Default: a `HashTokenizer`.

    Raises:
        ValueError: `width` is odd, or `tokenizer` numbers pairs of words too.

    Example:
        >>> import torch
        >>> features, mask = Recurrent(width=16, buckets=1000)(torch.tensor([[5, 7, 3], [9, 0, 0]]))
        >>> features.shape, mask.tolist()
        (torch.Size([2, 3, 16]), [[True, True, True], [True, False, False]])
    """

    def __init__(
        self,
        width: int = 128,
        *,
        embedding: int = 64,
        layers: int = 1,
        buckets: int = 1 << 15,
        dropout: float = 0.0,
        max_words: int = 256,
        tokenizer: WordTokenizer | None = None,
    ) -> None:
        super().__init__()
        require_sizes(dropout, width=width, embedding=embedding, layers=layers, buckets=buckets, max_words=max_words)
        if width % 2:
            raise ValueError(f"`width` must be even, half for each direction, got {width}. Add one.")
        if tokenizer is not None and tokenizer.pairs:
            raise ValueError("`tokenizer` must number words one by one, got pairs=True. Make it with pairs=False.")
        self.width = width
        self.layers = layers
        self.buckets = buckets
        self.dropout = dropout
        self.max_words = max_words
        self.tokenizer = tokenizer or HashTokenizer(buckets, pairs=False, max_words=max_words)
        self.vocabulary = self.tokenizer.vocabulary
        self.embedding = nn.Embedding(self.vocabulary, embedding, padding_idx=0)
        self.recurrent = nn.GRU(embedding, width // 2, layers, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(dropout)

    def description(self) -> dict[str, Any]:
        """Return its arguments; the attribute `embedding` is a layer."""
        names = ("width", "layers", "buckets", "dropout", "max_words", "tokenizer")
        return {"embedding": self.embedding.embedding_dim, **{name: getattr(self, name) for name in names}}

    def forward(
        self, input_ids: Int[Tensor, "batch length"]
    ) -> tuple[Float[Tensor, "batch length width"], Bool[Tensor, "batch length"]]:
        """Return the features of each word, and a mask of the positions that hold a word."""
        mask = input_ids != 0
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(
            self.drop(self.embedding(input_ids)), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        return self.drop(states), mask
