"""What every sampling rule has in common, and what it may depend on."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ._named_rates import in_order


@dataclass(slots=True)
class Signals:
    """What a rule may depend on, equal on all ranks; an entry for each source, NaN where nothing is known.

    Args:
        sources: Names of the sources, in the order of all entries.
        rows: Rows of each source's training split.
        batches: Steps of a pass over each source, if each step held a batch of this source alone.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the whole training, where they are known.
        losses: Training loss of each source since the last request for rates: the sum of the weighted means of its tasks.
        scores: Latest validation score of each source, higher is better: the mean of the main metrics of its tasks.
        draws: How often each source was drawn since the last request for rates: batches, where a step holds whole batches of its
            sources, else rows.
        drawn_by: The mean shares by which it was drawn in that time.
    """

    sources: tuple[str, ...]
    rows: Float[Tensor, " sources"]
    batches: Float[Tensor, " sources"]
    steps_per_epoch: int = 1
    epochs: int | None = None
    losses: Float[Tensor, " sources"] = field(default_factory=lambda: torch.empty(0))
    scores: Float[Tensor, " sources"] = field(default_factory=lambda: torch.empty(0))
    draws: Float[Tensor, " sources"] = field(default_factory=lambda: torch.empty(0))
    drawn_by: Float[Tensor, " sources"] = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        """Fill losses, scores and draws that were not given with NaN."""
        nothing = torch.full((len(self.sources),), torch.nan, dtype=torch.float64)
        known = (self.losses, self.scores, self.draws, self.drawn_by)
        made = (given.double() if len(given) else nothing.clone() for given in known)
        self.losses, self.scores, self.draws, self.drawn_by = made

    def known_rows(self, rule: str) -> Float[Tensor, " sources"]:
        """Return the rows of each source, for a rule that needs all of them.

        Raises:
            ValueError: A source does not know how many rows it has.
        """
        return self._known("rows", self.rows, rule)

    def known_batches(self, rule: str) -> Float[Tensor, " sources"]:
        """Return the steps of a pass over each source, for a rule that needs all of them.

        Raises:
            ValueError: A source does not know how many rows it has.
        """
        return self._known("batches", self.batches, rule)

    def _known(self, what: str, values: Tensor, rule: str) -> Tensor:
        unknown = [name for name, value in zip(self.sources, values.tolist(), strict=True) if value != value]
        if unknown:
            raise ValueError(
                f"{rule} needs the number of {what} of every source, but that of {unknown} is not known. Give Source(..., rows=...), "
                "or choose Uniform() or Explicit({source: rate})."
            )
        return values


class Rule(ABC):
    """How often each source is drawn: rates, which need not add up to one.

    A rule is asked before every step, and always returns the same rates for the same step. A rule that depends on the run
    (`feedback`) is asked only now and then, by the callback `SamplingSchedule`: in each call it updates its state, and its rates
    then hold from an announced step on.

    Arguments of a rule are plain data, kept as attributes of the same name; its `repr` is made of them.
    """

    feedback: ClassVar[bool] = False
    """Whether the rates depend on `losses`, `scores` or `draws`."""
    judges: ClassVar[bool] = False
    """Whether they depend on `scores`."""
    best_is_one: ClassVar[bool] = False
    """Whether scores must be of metrics whose best value is 1."""
    constant: ClassVar[bool] = False
    """Whether the rates never change."""
    leaves_out: ClassVar[bool] = False
    """Whether some sources may have rate 0, so that the rule matters even where each step holds all other sources."""

    base: Rule | None = None
    """A rule that is asked in every step; `rates` are then added to its shares."""

    @abstractmethod
    def rates(self, step: int, signals: Signals) -> Float[Tensor, " sources"]:
        """Return how often each source is drawn.

        A rule with `feedback` updates its state in each call.

        Args:
            step: Number of the training batch, from 0, over all epochs.
            signals: What is known of the sources. Before training, and where nothing is known yet, entries are NaN.

        Returns:
            A number for each source, not negative, not all zero; only their shares count.
        """

    def names(self) -> set[str]:
        """Return the names of the sources that the rule mentions."""
        return set()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the rule, as plain data."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        assert not state, f"{type(self).__name__} has no state"

    def __repr__(self) -> str:
        """Return the call that created the rule, with all arguments that are attributes."""
        names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def shares(rule: Rule, step: int, signals: Signals) -> Float[Tensor, " sources"]:
    """Ask a rule for its rates, and scale them to a sum of one.

    Raises:
        ValueError: Rates that are negative, not finite, all zero, or not one for each source.
    """
    return added_to_base(rule, asked(rule, step, signals), step, signals)


def asked(rule: Rule, step: int, signals: Signals) -> Float[Tensor, " sources"]:
    """Ask a rule for its rates: shares, or what is added to the shares of its base.

    Raises:
        ValueError: Rates that are negative, not finite, all zero (without a base), or not one for each source.
    """
    answer: Any = rule.rates(step, signals)
    if isinstance(answer, Mapping):
        answer = in_order(answer, signals.sources, "rates")
    rates = torch.as_tensor(answer, dtype=torch.float64)
    if rates.shape != (len(signals.sources),):
        raise ValueError(
            f"Rates of {type(rule).__name__} must be one for each of the sources {list(signals.sources)}, got shape "
            f"{list(rates.shape)} at step {step}. Return a tensor of {len(signals.sources)} numbers."
        )
    lowest, total = float(rates.min()), float(rates.sum())
    name, got = type(rule).__name__, f"got {rates.tolist()} for {list(signals.sources)} at step {step}"
    if not (lowest >= 0 and total < math.inf):  # NaN is neither
        raise ValueError(f"Rates of {name} must be finite and not negative, {got}. Use 0 for never.")
    if rule.base is not None:
        return rates
    if total == 0:
        raise ValueError(f"Rates of {name} must not all be zero, {got}. Draw at least one source.")
    return rates / total


def added_to_base(rule: Rule, rates: Tensor, step: int, signals: Signals) -> Float[Tensor, " sources"]:
    """Return the shares of a rule with a base: its rates, added to the shares of the base in this step."""
    if rule.base is None:
        return rates
    total = shares(rule.base, step, signals) + rates
    return total / total.sum()
