"""What the networks of an arm cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .._table import table


@dataclass(frozen=True)
class Cost:
    """What it takes to train one network; memory in bytes."""

    seconds: float
    """Wall-clock from the first step of training to the last, validation included."""
    parameters: int
    weights: int
    """Of parameters and buffers."""
    gradients: int
    """Of the parameters that are trained."""
    optimizer: int
    """What the optimizer keeps, after training."""
    peak: int | None
    """The most that training allocated on the GPU, activations included; None on a CPU, where no run has a figure of its own."""
    machine: str
    """Where the seconds were taken."""

    @property
    def training(self) -> int:
        """Weights, gradients and what the optimizer keeps."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class ArmCost:
    """What an arm takes: for each seed the costs of the networks that it ends in, and of one that is trained first, if it needs that."""

    runs: tuple[tuple[Cost, ...], ...]
    first: tuple[Cost, ...] = ()

    @property
    def networks(self) -> int:
        """How many networks the arm ends in."""
        return len(self.runs[0])

    @property
    def seconds(self) -> float:
        """Seconds of training of a seed, of all networks together: the median over the seeds, since one may be watched by monitors, or disturbed."""
        return median(sum(of.seconds for of in run) for run in self.runs) + self._before

    @property
    def parameters(self) -> int:
        """Parameters of all networks together."""
        return sum(of.parameters for of in self.runs[0])

    @property
    def training(self) -> int:
        """Bytes to train the largest network, one being trained after another: weights, gradients, optimizer; no activations."""
        return max(of.training for of in self._all)

    @property
    def serving(self) -> int:
        """Bytes of the weights of all networks together."""
        return sum(of.weights for of in self.runs[0])

    @property
    def peak(self) -> int | None:
        """The most that a training allocated on the GPU, in bytes; None where one was on a CPU."""
        peaks = [of.peak for of in self._all]
        return None if None in peaks else max(peak for peak in peaks if peak is not None)

    @property
    def machines(self) -> set[str]:
        """Where the seconds were taken."""
        return {of.machine for of in self._all}

    @property
    def name(self) -> str:
        """What stands in a table."""
        said = "one network" if self.networks == 1 else f"{self.networks} networks"
        return f"{said} after one" if self.first else said

    def record(self) -> dict[str, Any]:
        """Give it as plain data."""
        told = ("networks", "seconds", "parameters", "training", "serving", "peak")
        return {**{name: getattr(self, name) for name in told}, "machines": sorted(self.machines)}

    @property
    def _all(self) -> list[Cost]:
        return [*self.first, *(of for run in self.runs for of in run)]

    @property
    def _before(self) -> float:
        return median(of.seconds for of in self.first) if self.first else 0.0


def costs_of(
    arms: Mapping[str, Sequence[Sequence[Cost | None]]], after: Mapping[str, str] | None = None
) -> dict[str, ArmCost] | None:
    """Put together what each arm took; nothing where the costs of a network are not known.

    Args:
        arms: For each arm and seed the costs of its networks.
        after: The arm of one network that is trained before another arm.
    """
    if any(of is None for runs in arms.values() for run in runs for of in run):
        return None
    known = {name: tuple(tuple(of for of in run if of is not None) for run in runs) for name, runs in arms.items()}
    first = {name: tuple(run[0] for run in known[other]) for name, other in (after or {}).items()}
    return {name: ArmCost(runs, first.get(name, ())) for name, runs in known.items()}


def cost_table(costs: Mapping[str, ArmCost]) -> str:
    """Set what arms cost side by side."""
    peak = any(of.peak is not None for of in costs.values())
    header = ("cost of a seed", "seconds", "parameters", "memory to train", "memory to serve", *["peak on GPU"] * peak)
    counted = any(of.networks > 1 for of in costs.values())
    rows = [_row(f"{name}, {of.name}" if counted else name, of, peak) for name, of in costs.items()]
    machines = set().union(*(of.machines for of in costs.values()))
    other = "Seconds were taken on different machines and are not to be compared.\n" if len(machines) > 1 else ""
    return f"{table(header, rows)}\n{other}Memory to train: weights, gradients, optimizer of the largest network; activations come on top."


def _row(name: str, of: ArmCost, peak: bool) -> Sequence[str]:
    cells = (_seconds(of.seconds), f"{of.parameters:,}", _size(of.training), _size(of.serving))
    return (name, *cells, *["" if of.peak is None else _size(of.peak)] * peak)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 1 else "<1"


def _size(count: int) -> str:
    """Write a number of bytes as a reader takes it in."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log2(count)) // 10, 4)
    return f"{count / 1024**power:,.1f} {'KMGT'[power - 1]}iB"
