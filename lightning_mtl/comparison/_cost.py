"""The costs of the networks of an arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .._table import table


@dataclass(frozen=True)
class Cost:
    """The costs of training one network; memory in bytes."""

    seconds: float
    """Wall-clock time from the first training step to the last, with validation."""
    parameters: int
    """The number of parameters."""
    weights: int
    """Memory of parameters and buffers."""
    gradients: int
    """Memory of the gradients of trained parameters."""
    optimizer: int
    """Memory of the optimizer's state, after training."""
    peak: int | None
    """The most memory that training allocated on the GPU, with activations; None on a CPU, where it is not known of a single run."""
    machine: str
    """The machine on which the seconds were measured."""

    @property
    def training(self) -> int:
        """Memory of weights, gradients and the optimizer's state."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class ArmCost:
    """The costs of an arm: for each seed those of its networks, and of the network that is trained before them, if there is one."""

    runs: tuple[tuple[Cost, ...], ...]
    first: tuple[Cost, ...] = ()

    @property
    def networks(self) -> int:
        """How many networks the arm has in the end."""
        return len(self.runs[0])

    @property
    def seconds(self) -> float:
        """Seconds of training of all networks of a seed: the median over the seeds, since one may have monitors, or be disturbed."""
        return median(sum(of.seconds for of in run) for run in self.runs) + self._before

    @property
    def parameters(self) -> int:
        """Parameters of all networks together."""
        return sum(of.parameters for of in self.runs[0])

    @property
    def training(self) -> int:
        """Bytes to train the largest network, since they are trained one after another: weights, gradients, optimizer; no activations."""
        return max(of.training for of in self._all)

    @property
    def serving(self) -> int:
        """Bytes of the weights of all networks together."""
        return sum(of.weights for of in self.runs[0])

    @property
    def peak(self) -> int | None:
        """The most memory that training of a network allocated on the GPU, in bytes; None where one was trained on a CPU."""
        peaks = [of.peak for of in self._all]
        return None if None in peaks else max(peak for peak in peaks if peak is not None)

    @property
    def machines(self) -> set[str]:
        """The machines on which the seconds were measured."""
        return {of.machine for of in self._all}

    @property
    def name(self) -> str:
        """The description of the arm in a table."""
        networks = "one network" if self.networks == 1 else f"{self.networks} networks"
        return f"{networks} after one" if self.first else networks

    def record(self) -> dict[str, Any]:
        """Return the costs as plain data."""
        keys = ("networks", "seconds", "parameters", "training", "serving", "peak")
        runs, first = [[asdict(of) for of in run] for run in self.runs], [asdict(of) for of in self.first]
        return {
            **{key: getattr(self, key) for key in keys},
            "machines": sorted(self.machines),
            "runs": runs,
            "first": first,
        }

    @property
    def _all(self) -> list[Cost]:
        return [*self.first, *(of for run in self.runs for of in run)]

    @property
    def _before(self) -> float:
        return median(of.seconds for of in self.first) if self.first else 0.0


def costs_of(
    arms: Mapping[str, Sequence[Sequence[Cost | None]]], after: Mapping[str, str] | None = None
) -> dict[str, ArmCost] | None:
    """Return the costs of each arm; None where the costs of a network are not known.

    Args:
        arms: For each arm and seed the costs of its networks.
        after: The arm of one network that is trained before another arm.
    """
    if any(of is None for runs in arms.values() for run in runs for of in run):
        return None
    known = {name: tuple(tuple(of for of in run if of is not None) for run in runs) for name, runs in arms.items()}
    first = {name: tuple(run[0] for run in known[other]) for name, other in (after or {}).items()}
    return {name: ArmCost(runs, first.get(name, ())) for name, runs in known.items()}


def joined_costs(one: Mapping[str, ArmCost], other: Mapping[str, ArmCost]) -> dict[str, ArmCost]:
    """Return the costs of each arm over the seeds of both."""
    return {arm: ArmCost(one[arm].runs + of.runs, one[arm].first + of.first) for arm, of in other.items()}


def costs_from_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, ArmCost] | None:
    """Return the costs of which these are the records; None where these lack those of each run."""
    if any("runs" not in of for of in records.values()):
        return None
    made = {arm: [tuple(Cost(**run) for run in seed) for seed in of["runs"]] for arm, of in records.items()}
    return {arm: ArmCost(tuple(runs), tuple(Cost(**of) for of in records[arm]["first"])) for arm, runs in made.items()}


def cost_table(costs: Mapping[str, ArmCost]) -> str:
    """Return a table of the costs of all arms."""
    peak = any(of.peak is not None for of in costs.values())
    header = ("cost of a seed", "seconds", "parameters", "memory to train", "memory to serve", *["peak on GPU"] * peak)
    several = any(of.networks > 1 for of in costs.values())
    rows = [_row(f"{name}, {of.name}" if several else name, of, peak) for name, of in costs.items()]
    machines = set().union(*(of.machines for of in costs.values()))
    other = "Seconds were taken on different machines and are not to be compared.\n" if len(machines) > 1 else ""
    return f"{table(header, rows)}\n{other}Memory to train: weights, gradients, optimizer of the largest network; activations come on top."


def _row(name: str, of: ArmCost, peak: bool) -> Sequence[str]:
    cells = (_seconds(of.seconds), f"{of.parameters:,}", _size(of.training), _size(of.serving))
    return (name, *cells, *["" if of.peak is None else _size(of.peak)] * peak)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 1 else "<1"


def _size(count: int) -> str:
    """Write a number of bytes in the unit that fits."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log2(count)) // 10, 4)
    return f"{count / 1024**power:,.1f} {'KMGT'[power - 1]}iB"
