"""How many named spans were found exactly."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric


class SpanF1(Metric):
    """Share of spans that were found exactly, as F1 over all of them (micro average).

    A span counts as found if its type, its first and its last word are right (Tjong Kim Sang and De Meulder 2003,
    Introduction to the CoNLL-2003 shared task, section 2.4). Tags are read as their script conlleval reads them: "B-" begins
    a span, "I-" goes on with one of its type, or else begins one; "O" ends it. It is 0 where there is no span at all.

    Args:
        names: The tags' names in the order of their numbers, "O" or a type behind "B-" or "I-".

    Raises:
        ValueError: A name is of another form, or none is a span's.

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
    types: Tensor

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        types = sorted({kind for kind in map(_type, names) if kind is not None})
        if not types:
            raise ValueError(
                f"`names` must hold a tag of a span, e.g. 'B-PER', got {names}. Use accuracy without spans."
            )
        self.names = names
        self.register_buffer("begins", torch.tensor([name.startswith("B-") for name in names]), persistent=False)
        numbers: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(types)}}
        self.register_buffer("types", torch.tensor([numbers[_type(name)] for name in names]), persistent=False)
        for state in ("tp", "predicted", "true"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, preds: Shaped[Tensor, "words *tags"], target: Int[Tensor, "words"], sequence: Int[Tensor, "words"]
    ) -> None:
        """Take in some rows, their words one behind the other.

        Args:
            preds: [words, tags] probabilities, or [words] numbers of tags.
            target: The right tags.
            sequence: Number of the row that a word belongs to; a span ends where its row does.
        """
        found = preds.argmax(-1) if preds.ndim == 2 else preds
        fresh = torch.ones_like(sequence, dtype=torch.bool)
        fresh[1:] = sequence[1:] != sequence[:-1]
        types, starts, ends = self._spans(found, fresh)
        true_types, true_starts, true_ends = self._spans(target, fresh)
        self.tp += (starts & true_starts & (types == true_types) & (ends == true_ends)).sum()
        self.predicted += starts.sum()
        self.true += true_starts.sum()

    def compute(self) -> Float[Tensor, ""]:
        """F1 over all spans so far."""
        return 2 * self.tp / (self.predicted + self.true).clamp(min=1)

    def set_dtype(self, dst_type: str | torch.dtype) -> SpanF1:
        """Stay as it is: counts are whole numbers, of which float32 knows but 16 million."""
        return self

    def _spans(
        self, tags: Int[Tensor, "words"], fresh: Bool[Tensor, "words"]
    ) -> tuple[Int[Tensor, "words"], Bool[Tensor, "words"], Int[Tensor, "words"]]:
        """Say for each word its type, whether a span starts there, and which word is the first that cannot go on."""
        types = self.types[tags]
        turns = fresh | self.begins[tags]
        turns[1:] |= types[1:] != types[:-1]
        starts = turns & (types >= 0)
        count = len(tags)
        here = torch.arange(count, device=tags.device)
        ends = torch.full_like(here, count)  # the next word at which something else begins
        ends[:-1] = here.where(turns, count)[1:].flip(0).cummin(0).values.flip(0)
        return types, starts, ends


def _type(name: str) -> str | None:
    """Read the type off a tag; "O" has none."""
    if name == "O":
        return None
    if not isinstance(name, str) or not name.startswith(("B-", "I-")):
        raise ValueError(
            f"`names` must be 'O' or begin with 'B-' or 'I-', got {name!r}. Rename the tags, or use accuracy."
        )
    return name[2:]
