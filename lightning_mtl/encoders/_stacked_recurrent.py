"""A stack of recurrent layers, each of which is a level."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ._hashing import HashTokenizer
from ._levelled import LevelledEncoder, State, add_feed
from ._sizes import require_sizes
from ._word_tokenizer import WordTokenizer

Cell = Literal["lstm", "gru"]


class StackedRecurrent(LevelledEncoder):
    """Read words in both directions with several recurrent layers, each of which is a level.

    With shortcuts, each level reads the output of the level below, concatenated with the embeddings of the words (Hashimoto
    et al., "A joint many-task model", EMNLP 2017, section 2).

    Args:
        width: Size of the features of each level; half of it for each direction.
        levels: Number of levels.
        cell: "lstm" (Hochreiter and Schmidhuber, 1997) or "gru" (Cho et al., 2014).
        embedding: Size of a word's embedding.
        shortcut: Whether each level above the first reads the embeddings too.
        buckets: Number of embeddings; with more of them, fewer words share one.
        dropout: Share of the embeddings and of each level's features that is dropped in training.
        max_words: How many words of a text are read at most.
        tokenizer: Numbers the words, one by one; then `buckets` and `max_words` are not used. Default: a `HashTokenizer`.

    Raises:
        ValueError: `width` is odd, `cell` is unknown, or `tokenizer` numbers pairs of words too.

    Example:
        >>> encoder = StackedRecurrent(width=16, levels=2, buckets=1000)
        >>> state = encoder.prepare({"input_ids": torch.tensor([[5, 7, 3], [9, 0, 0]])})
        >>> encoder.step(state, 1).hidden.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        width: int = 128,
        levels: int = 3,
        *,
        cell: Cell = "lstm",
        embedding: int = 64,
        shortcut: bool = True,
        buckets: int = 1 << 15,
        dropout: float = 0.0,
        max_words: int = 256,
        tokenizer: WordTokenizer | None = None,
    ) -> None:
        require_sizes(dropout, width=width, levels=levels, embedding=embedding, buckets=buckets, max_words=max_words)
        if width % 2:
            raise ValueError(f"`width` must be even, half for each direction, got {width}. Add one.")
        if cell not in ("lstm", "gru"):
            raise ValueError(f"`cell` must be 'lstm' or 'gru', got {cell!r}.")
        if tokenizer is not None and tokenizer.pairs:
            raise ValueError("`tokenizer` must number words one by one, got pairs=True. Make it with pairs=False.")
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        sizes = [embedding if level == 0 else width + embedding * shortcut for level in range(levels)]
        layers = [kind(size, width // 2, batch_first=True, bidirectional=True) for size in sizes]
        super().__init__([_Layer(layer, dropout) for layer in layers], [width] * levels)
        self.cell = cell
        self.shortcut = shortcut
        self.buckets = buckets
        self.dropout = dropout
        self.max_words = max_words
        self.tokenizer = tokenizer or HashTokenizer(buckets, pairs=False, max_words=max_words)
        self.vocabulary = self.tokenizer.vocabulary
        self.embedding = nn.Embedding(self.tokenizer.vocabulary, embedding, padding_idx=0)
        self.drop = nn.Dropout(dropout)

    def description(self) -> dict[str, Any]:
        """Return its arguments; the attributes `levels` and `embedding` are layers."""
        names = ("width", "cell", "shortcut", "buckets", "dropout", "max_words", "tokenizer")
        sizes = {"levels": len(self.levels), "embedding": self.embedding.embedding_dim}
        return sizes | {name: getattr(self, name) for name in names}

    def prepare(self, inputs: dict[str, Any]) -> State:
        """Embed the words."""
        ids = inputs["input_ids"]
        words = self.drop(self.embedding(ids))
        return State(words, ids != 0, {"words": words})

    def entrance(self, level: int) -> int:
        """Return the size of the feeds that can be added to the input of this level."""
        return self.embedding.embedding_dim if level == 1 else self.width

    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run one layer, in both directions."""
        assert state.mask is not None
        hidden = add_feed(state.hidden, extra)
        if self.shortcut and level > 1:
            hidden = torch.cat([hidden, state.context["words"]], -1)
        return State(self.levels[level - 1](hidden, state.mask), state.mask, state.context)


class _Layer(nn.Module):
    """One recurrent layer over rows with padding."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU, dropout: float) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.drop = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        run = self._by_direction if hidden.device.type == "cpu" else self._packed
        output: Tensor = self.drop(run(hidden, mask))
        return output

    def _packed(self, hidden: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(hidden, lengths, batch_first=True, enforce_sorted=False)
        output: Tensor = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=mask.shape[1])[0]
        return output

    def _by_direction(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Run over the rows, then over the reversed rows: on a CPU this takes a third of the time of packed rows."""
        lengths = mask.sum(1, keepdim=True).clamp(min=1)
        steps = torch.arange(mask.shape[1])
        reversed_steps = torch.where(steps < lengths, lengths - 1 - steps, steps).unsqueeze(-1)
        forwards = self._one_direction(hidden, "")
        backwards = self._one_direction(hidden.gather(1, reversed_steps.expand_as(hidden)), "_reverse")
        both = torch.cat([forwards, backwards.gather(1, reversed_steps.expand_as(backwards))], -1)
        return both.masked_fill((steps >= lengths).unsqueeze(-1), 0)

    def _one_direction(self, hidden: Tensor, suffix: str) -> Tensor:
        layer = self.recurrent
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [getattr(layer, name + suffix) for name in names]
        start = hidden.new_zeros(1, hidden.shape[0], layer.hidden_size)
        if isinstance(layer, nn.LSTM):
            return torch.lstm(hidden, (start, start), weights, True, 1, 0.0, self.training, False, True)[0]
        return torch.gru(hidden, start, weights, True, 1, 0.0, self.training, False, True)[0]
