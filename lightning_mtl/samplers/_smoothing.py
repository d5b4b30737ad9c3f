"""Rows to a power between 0 and 1."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._rule import Rule, Signals
from ._temperature import relative


class Smoothing(Rule):
    """Draw a source in proportion to rows^smoothing: 1 is proportional, 0 uniform.

    Reference: van der Goot et al., "Massive Choice, Ample Tasks (MaChAmp): a toolkit for multi-task learning in NLP", EACL
    demos 2021; Conneau and Lample, "Cross-lingual language model pretraining", NeurIPS 2019. It is `Temperature(1 / smoothing)`.

    Args:
        smoothing: From 0 to 1.

    Raises:
        ValueError: A number out of its range; from `rates`: a source does not know its rows.

    Example:
        >>> import torch
        >>> signals = Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0]))
        >>> rates = Smoothing(smoothing=0.5).rates(0, signals)
        >>> rates / rates.sum()
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    constant = True

    def __init__(self, smoothing: float = 0.5) -> None:
        remedy = "1 is proportional to rows, 0 uniform."
        require_number("smoothing", smoothing, remedy, at_least=0, at_most=1)
        self.smoothing = smoothing

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the powers of the rows."""
        return relative(signals.known_rows("Smoothing(...)").double()) ** self.smoothing
