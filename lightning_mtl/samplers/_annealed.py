"""From proportional towards uniform, as epochs go by."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from .._checks import require_number
from ._rule import Rule, Signals
from ._temperature import relative


class Annealed(Rule):
    """Draw a source in proportion to rows^alpha, where alpha changes linearly over the epochs.

    In epoch e of E, from 1, alpha = start + (end - start) (e - 1) / (E - 1); with E = 1 it is `start`, and after epoch E it
    stays at `end`. Reference: Stickland and Murray, "BERT and PALs: projected attention layers for efficient adaptation in
    multi-task learning", ICML 2019: from 1 to 0.2, so that in the end all tasks are drawn nearly equally often.

    Args:
        start: Exponent of the first epoch, at least 0: 1 is proportional to rows, 0 uniform.
        end: Exponent of the last epoch, at least 0.
        epochs: The E above. Default: epochs of the training.

    Raises:
        ValueError: A number out of its range; from `rates`: neither `epochs` nor the end of the training is known, or a
            source does not know its rows.

    Example:
        >>> import torch
        >>> signals = Signals(("pos", "sick"), torch.tensor([900.0, 100.0]), torch.tensor([9.0, 1.0]), steps_per_epoch=10)
        >>> rule = Annealed(start=1.0, end=0.0, epochs=3)
        >>> [rule.exponent(step, signals) for step in (0, 9, 10, 20, 99)]
        [1.0, 1.0, 0.5, 0.0, 0.0]
        >>> rates = rule.rates(10, signals)
        >>> rates / rates.sum()
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    def __init__(self, start: float = 1.0, end: float = 0.2, epochs: int | None = None) -> None:
        for name, value in (("start", start), ("end", end)):
            require_number(name, value, "1 is proportional to rows, 0 uniform.", at_least=0)
        remedy = "None takes those of the training."
        require_number("epochs", epochs, remedy, at_least=1, whole=True, optional=True)
        self.start, self.end, self.epochs = start, end, epochs

    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return the powers of the rows."""
        return relative(signals.known_rows("Annealed(...)").double()) ** self.exponent(step, signals)

    def exponent(self, step: int, signals: Signals) -> float:
        """Return the alpha of a step.

        Raises:
            ValueError: Neither `epochs` nor the end of the training is known.
        """
        epochs = signals.epochs if self.epochs is None else self.epochs
        if epochs is None:
            raise ValueError(
                "`epochs` must be known, got None from Annealed(...) and from the training, which has no end in epochs. "
                "Give Annealed(epochs=...) or Trainer(max_epochs=...)."
            )
        passed = min(step // signals.steps_per_epoch, epochs - 1)
        return self.start + (self.end - self.start) * (passed / max(epochs - 1, 1))
