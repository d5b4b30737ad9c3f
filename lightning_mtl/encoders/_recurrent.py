"""A small sequence encoder that is trained from scratch."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ._hashing import HashTokenizer


class Recurrent(nn.Module):
    """Read a text's words in order, from both sides, with a gated recurrent unit (Cho et al., EMNLP 2014).

    A trunk for `HardSharing` and its like. It returns the features of every word and a mask, so heads can pool them or
    predict per word.

    Args:
        width: Size of the features; half of it for each direction.
        embedding: Size of a word's embedding.
        layers: Number of recurrent layers.
        buckets: Number of embeddings; more of them collide less.
        dropout: Share of the embeddings and features that is dropped while training.
        max_words: How many words of a text are read.

    Raises:
        ValueError: `width` is odd.

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
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"`width` must be even, half for each direction, got {width}.")
        self.width = width
        self.tokenizer = HashTokenizer(buckets, pairs=False, max_words=max_words)
        self.embedding = nn.Embedding(buckets + 1, embedding, padding_idx=0)
        self.recurrent = nn.GRU(embedding, width // 2, layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, input_ids: Int[Tensor, "batch length"]
    ) -> tuple[Float[Tensor, "batch length width"], Bool[Tensor, "batch length"]]:
        """Return the features of each word, and which positions hold one."""
        mask = input_ids != 0
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(
            self.dropout(self.embedding(input_ids)), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        return self.dropout(states), mask
