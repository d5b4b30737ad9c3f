"""The share of each source in every step, by one rule."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._rule import Rule, Signals, added_to_base, asked

LAG = 32
"""Steps between the announcement of new rates and their first use: more than any loader reads ahead."""


class Rates:
    """Knows the share of each source in any step from now on.

    A rule that depends only on the step is asked in each step. The rates of a rule with feedback are announced: they hold from
    `LAG` steps after the last delivered step. It is the same for sources that are left out of sampling, under any rule.

    Args:
        rule: The rule.
        signals: What it may look at.

    Example:
        >>> from lightning_mtl.samplers import Exp3S
        >>> rates = Rates(Exp3S(), Signals(("a", "b"), torch.tensor([9.0, 1.0]), torch.tensor([9.0, 1.0])))
        >>> rates.announce(7, torch.tensor([0.9, 0.1], dtype=torch.float64))
        39
        >>> rates.at(38), rates.at(39)
        ([0.5, 0.5], [0.9, 0.1])
        >>> rates.leave_out(8, ["a"])
        40
        >>> rates.at(40)
        [0.0, 1.0]
    """

    def __init__(self, rule: Rule, signals: Signals) -> None:
        self.rule, self.signals = rule, signals
        self._rule_text = re.sub(r" at 0x[0-9a-f]+", "", repr(rule))  # without the addresses of functions
        self._announced: list[tuple[int, list[float]]] = [(0, asked(rule, 0, signals).tolist())]
        self.left_out: dict[str, int] = {}
        """The step from which each source that is left out is no longer drawn."""

    def at(self, step: int) -> list[float]:
        """Return the share of each source in a step; only shares since the last announcement are kept."""
        rates = self._by_rule(step)
        gone = {name for name, since in self.left_out.items() if since <= step}
        if not gone:
            return rates
        kept = [0.0 if name in gone else rate for name, rate in zip(self.signals.sources, rates, strict=True)]
        if not any(kept):  # the rule draws none of the others in this step: they are drawn equally often
            kept = [float(name not in gone) for name in self.signals.sources]
        return [rate / sum(kept) for rate in kept]

    def _by_rule(self, step: int) -> list[float]:
        if not (self.rule.feedback or self.rule.constant):
            return asked(self.rule, step, self.signals).tolist()
        announced = next(rates for since, rates in reversed(self._announced) if since <= step)
        if self.rule.base is None:
            return announced
        added = torch.tensor(announced, dtype=torch.float64)
        return added_to_base(self.rule, added, step, self.signals).tolist()

    def mean(self, since: int, until: int) -> Float[Tensor, " sources"]:
        """Return the mean shares over steps that were delivered since the last announcement."""
        return torch.tensor([self.at(step) for step in range(since, until)], dtype=torch.float64).mean(0)

    def announce(self, step: int, rates: Float[Tensor, " sources"]) -> int:
        """Change the rates of a rule with feedback, and return the step from which they hold.

        Args:
            step: Steps that were delivered so far.
            rates: What the rule returned; it must be equal on all ranks.
        """
        past = [entry for entry in self._announced if entry[0] <= step][-1:]
        self._announced = [*past, *(entry for entry in self._announced if entry[0] > step)]
        self._announced.append((step + LAG, rates.tolist()))
        return step + LAG

    def leave_out(self, step: int, sources: Iterable[str]) -> int:
        """Stop drawing sources, and return the step from which they are left out; the others take over their shares.

        Args:
            step: Steps that were delivered so far.
            sources: Their names, equal on all ranks; some must remain.
        """
        self.left_out = {**dict.fromkeys(sources, step + LAG), **self.left_out}
        assert len(self.left_out) < len(self.signals.sources), "something must be drawn"
        return step + LAG

    def state_dict(self) -> dict[str, Any]:
        """Return the rule with its arguments, its state, and what was announced."""
        announced = [[step, list(rates)] for step, rates in self._announced]
        rule = {"rule": self._rule_text, "remembers": self.rule.state_dict()}
        return {**rule, "announced": announced, "left_out": dict(self.left_out)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; a rule other than that of the state starts without one, with a warning."""
        self.left_out = dict(state.get("left_out", {}))  # earlier checkpoints have none
        if state["rule"] == self._rule_text:
            self.rule.load_state_dict(state["remembers"])
            self._announced = [(step, list(rates)) for step, rates in state["announced"]]
        else:
            warnings.warn(f"Sampling continues by {self.rule}; it was saved under {state['rule']}.", stacklevel=2)
