"""Every balancer in every scope, for several processes to do as one does; started like `cases`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from lightning_mtl import balancers
from lightning_mtl.balancers import Balancer, GradientBalancer, LossBalancer
from tests.ranks import cases

SCOPES: dict[str, dict[str, Any]] = {
    "at the gate": {"scope": "representation"},
    "by rows": {"scope": "parameters"},
    "sketched": {"scope": "parameters", "sketch": 64},
}
ENDS = ("labels here and there, accumulated", "a task missing on all ranks in one step")


def every_balancer() -> dict[str, type[Balancer]]:
    """Name all balancers that are rules."""
    found = {name: getattr(balancers, name) for name in balancers.__all__}
    rules = {name: kind for name, kind in found.items() if inspect.isclass(kind) and issubclass(kind, Balancer)}
    return {name: kind for name, kind in rules.items() if name != "FromGramian" and _is_rule(kind)}


def _is_rule(kind: type[Balancer]) -> bool:
    return issubclass(kind, LossBalancer | GradientBalancer) and not inspect.isabstract(kind)


def crossed() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, kind in every_balancer().items():
        for scope, options in SCOPES.items() if issubclass(kind, GradientBalancer) else [("on losses", {})]:
            for end in ENDS:
                yield f"{name}, {scope}, {end}", {"balancer": kind(), **options}


CASES = list(cases.CASES)
"""What `cases` had before."""
CROSS = {**cases.SELDOM, **dict(crossed())}
for _case in CROSS:
    cases.add_balanced(_case, CROSS[_case])

if __name__ == "__main__":
    cases.main(list(CROSS))
