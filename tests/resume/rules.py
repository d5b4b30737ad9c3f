"""The rules under which runs are killed and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lightning_mtl.samplers import (
    Annealed,
    DynamicTaskPrioritization,
    Exp3S,
    ForgettingDriven,
    Phase,
    Phases,
    Rule,
    Signals,
    Temperature,
    shares,
)


class Phased(Rule):
    """Draws the sources of one phase after the other, within a phase by another rule; a user's own composition."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.phases = Phases([Phase(["a", "b"], steps=11), Phase(["b", "c"], steps=8), Phase(["c", "a"], steps=5)])

    def rates(self, step: int, signals: Signals) -> Tensor:
        return (self.phases.rates(step, signals) > 0) * shares(self.rule, step, signals)

    def state_dict(self) -> dict[str, Any]:
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rule.load_state_dict(state)


class PhasedFeedback(Phased):
    """The same of a rule that depends on how training goes."""

    feedback = True


RULES: dict[tuple[str, str], Callable[[], Rule]] = {
    ("homogeneous", "static"): lambda: Temperature(2.0),
    ("homogeneous", "annealed"): lambda: Annealed(1.0, 0.0),
    ("homogeneous", "dynamic"): lambda: Exp3S(learning_rate=0.5),
    ("stratified", "static"): lambda: Temperature(1.5, cap=50.0),
    ("stratified", "annealed"): lambda: Annealed(0.8, 0.2),
    ("stratified", "dynamic"): lambda: ForgettingDriven(Temperature(4.0), strength=2.0),
    ("mixed", "static"): lambda: Temperature(5.0),
    ("mixed", "annealed"): lambda: Annealed(1.0, 0.2),
    ("mixed", "dynamic"): lambda: DynamicTaskPrioritization(momentum=0.5),
    ("phased", "static"): lambda: Phased(Temperature(2.0)),
    ("phased", "annealed"): lambda: Phased(Annealed(1.0, 0.0)),
    ("phased", "dynamic"): lambda: PhasedFeedback(Exp3S(learning_rate=0.5, mixing=0.05)),
}
"""{(what steps hold, how rates come about): the rule}."""
