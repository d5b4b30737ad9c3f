"""F1 of exactly matched spans."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from .._checks import require_number
from ._span_tags import scheme_of, span_tags


class SpanF1(Metric):
    """F1 of spans that are matched exactly, over all spans (micro average).

    A span is matched if its type, its first word and its last word are right (Tjong Kim Sang and De Meulder 2003,
    Introduction to the CoNLL-2003 shared task, section 2.4). Tags are read as by their script conlleval: "B-" begins
    a span, "I-" continues a span of the same type or else begins one, and "O" ends it; with more prefixes "E-" or "L-" also ends
    one, and "S-" or "U-" is one of a single word.

    Args:
        names: The tags' names in the order of their numbers: "O", or a type after the prefixes of BIO, BIOES, BMES or BILOU; IO has
            the prefix "I-" or none.
        zero_division: The value where no label has a span, for which F1 is not defined.

    Raises:
        ValueError: A name has another form, or no name is the tag of a span.

    Example:
        >>> import torch
        >>> metric = SpanF1(["O", "B-PER", "I-PER"])
        >>> target = torch.tensor([1, 2, 0, 1])  # two spans
        >>> metric(torch.tensor([1, 2, 0, 0]), target, sequence=torch.zeros(4, dtype=torch.long))  # one found, of one
        tensor(0.6667)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    tp: Tensor
    predicted: Tensor
    true: Tensor
    begins: Tensor
    ends: Tensor
    types: Tensor

    def __init__(self, names: list[str], *, zero_division: float = 0.0) -> None:
        super().__init__()
        tags = span_tags(names)
        if tags is None:
            raise ValueError(
                f"`names` must be 'O' and tags of spans, e.g. 'B-PER' and 'I-PER', got {names}. Rename the tags, or use accuracy."
            )
        self.names = names
        require_number("zero_division", zero_division, "0, 1 and NaN are usual.", finite=False)
        self.zero_division = zero_division
        self.scheme = scheme_of(names)
        types = sorted({tag.type for tag in tags if tag.type is not None})
        numbers: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(types)}}
        self.register_buffer("begins", torch.tensor([tag.begins for tag in tags]), persistent=False)
        self.register_buffer("ends", torch.tensor([tag.ends for tag in tags]), persistent=False)
        self.register_buffer("types", torch.tensor([numbers[tag.type] for tag in tags]), persistent=False)
        for state in ("tp", "predicted", "true"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, preds: Shaped[Tensor, "words *tags"], target: Int[Tensor, "words"], sequence: Int[Tensor, "words"]
    ) -> None:
        """Update with the words of some rows, one row after the other.

        Args:
            preds: [words, tags] probabilities, or [words] numbers of tags.
            target: The right tags.
            sequence: Number of the row that each word belongs to; a span ends with its row.
        """
        found = preds.argmax(-1) if preds.ndim == 2 else preds
        first_words = torch.ones_like(sequence, dtype=torch.bool)
        first_words[1:] = sequence[1:] != sequence[:-1]
        types, starts, ends = self._spans(found, first_words)
        true_types, true_starts, true_ends = self._spans(target, first_words)
        self.tp += (starts & true_starts & (types == true_types) & (ends == true_ends)).sum()
        self.predicted += starts.sum()
        self.true += true_starts.sum()

    def compute(self) -> Float[Tensor, ""]:
        """Return F1 over all spans so far."""
        f1 = 2 * self.tp / (self.predicted + self.true).clamp(min=1)
        return f1.where(self.true > 0, self.zero_division)

    def set_dtype(self, dst_type: str | torch.dtype) -> SpanF1:
        """Do nothing: counts are whole numbers, and float32 is exact only up to 16 million."""
        return self

    def _spans(
        self, tags: Int[Tensor, "words"], first_words: Bool[Tensor, "words"]
    ) -> tuple[Int[Tensor, "words"], Bool[Tensor, "words"], Int[Tensor, "words"]]:
        """Return for each word its type, whether a span starts there, and the next word that does not continue the span."""
        types = self.types[tags]
        changes = first_words | self.begins[tags]
        changes[1:] |= (types[1:] != types[:-1]) | self.ends[tags[:-1]]
        starts = changes & (types >= 0)
        count = len(tags)
        numbers = torch.arange(count, device=tags.device)
        ends = torch.full_like(numbers, count)  # the next word at which something else begins
        ends[:-1] = numbers.where(changes, count)[1:].flip(0).cummin(0).values.flip(0)
        return types, starts, ends
