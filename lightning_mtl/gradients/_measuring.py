"""How a gradient balancer gets its Gramian."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from .._checks import require_number
from ..balancers import Balancer, FromGramian, GradientBalancer, Weighting

Scope = Literal["representation", "parameters"]


@dataclass(frozen=True)
class Measuring:
    """How a gradient balancer gets its Gramian; see `MultiTaskModule`."""

    scope: Scope | None = None
    weight_heads: bool = False
    refresh_every: int = 1
    sketch: int | None = None
    gradient_memory: float | None = None

    @property
    def given_scope(self) -> Scope | None:
        """The requested scope; None if it follows from the data."""
        return "parameters" if self.sketch or self.gradient_memory else self.scope

    def refuse(self, balancer: Any) -> None:
        """Check that these options fit each other and the balancer.

        Raises:
            ValueError: They do not.
            TypeError: `balancer` is neither a `Balancer` nor a function.
        """
        if balancer is not None and not callable(balancer):
            raise TypeError(
                f"`balancer` must be a Balancer or a function from a Gramian to weights, got {balancer!r}. Use one of "
                "lightning_mtl.balancers, e.g. PCGrad()."
            )
        if isinstance(balancer, type):
            raise TypeError(f"`balancer` must be an object, got the class. Make it: {balancer.__name__}().")
        self._refuse_values()
        given = [name for name, default in _DEFAULTS.items() if getattr(self, name) != default]
        if given and not weighs_gradients(balancer):
            raise ValueError(
                f"`{given[0]}` must be left out without a gradient balancer, got {getattr(self, given[0])!r} with balancer="
                f"{balancer!r}. Give one, e.g. balancer=PCGrad()."
            )

    def _refuse_values(self) -> None:
        if self.scope not in (None, "representation", "parameters"):
            raise ValueError(f"`scope` must be 'representation' or 'parameters', got {self.scope!r}.")
        require_number("refresh_every", self.refresh_every, "1 weighs anew in each step.", at_least=1, whole=True)
        require_number("sketch", self.sketch, "None sketches nothing.", at_least=1, whole=True, optional=True)
        remedy = "It is in GB; None sets no limit."
        require_number("gradient_memory", self.gradient_memory, remedy, above=0, finite=False, optional=True)
        if self.scope == "representation" and (self.sketch or self.gradient_memory):
            name = "sketch" if self.sketch else "gradient_memory"
            raise ValueError(
                f"`{name}` must go with scope='parameters', got scope='representation'. Leave it out there."
            )
        if self.sketch and self.gradient_memory:
            raise ValueError(
                "`gradient_memory` must be left out with `sketch`, which holds one gradient at a time, got both."
            )


_DEFAULTS = {name: getattr(Measuring(), name) for name in Measuring.__dataclass_fields__}


def own_balancer(balancer: Balancer | Weighting | None) -> Balancer | None:
    """Return a module's own balancer: a copy, or a balancer made from a function."""
    if balancer is None or isinstance(balancer, Balancer):
        return copy.deepcopy(balancer)
    return FromGramian(copy.deepcopy(balancer))


def weighs_gradients(balancer: Any) -> bool:
    """Return whether a balancer weighs gradients: a `GradientBalancer`, or a function of the Gramian."""
    return isinstance(balancer, GradientBalancer) or (balancer is not None and not isinstance(balancer, Balancer))
