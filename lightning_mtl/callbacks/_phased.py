"""What callbacks for a schedule of phases share: where a run stands in it, and rows of what was drawn before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import lightning as L

from ..samplers import MultiTaskSampler, Phases, Plan, Rows
from ._planned import sampler_of


@runtime_checkable
class _Module(Protocol):
    """What these callbacks ask of the model."""

    tasks: Any
    routing: Any


@dataclass(frozen=True)
class Turn:
    """A phase in its place in the schedule.

    Args:
        number: Its number.
        sources: What it draws.
        earlier: What phases before it drew, and it does not.
        passed: All that phases before it drew.
    """

    number: int
    sources: tuple[str, ...]
    earlier: tuple[str, ...]
    passed: tuple[str, ...]


class Turns:
    """Tells in which turn a run is; equal on all ranks.

    Args:
        sampler: What plans the steps, by `Phases`.
    """

    def __init__(self, sampler: MultiTaskSampler) -> None:
        self.sampler = sampler
        assert isinstance(sampler.rule, Phases)
        self._rule = sampler.rule
        self._drawn = self._rule.drawn(sampler.signals)
        self._known: dict[tuple[int, ...], Turn] = {}

    def now(self) -> Turn:
        """Give the turn of the step that is being run."""
        step, signals = self.sampler.running, self.sampler.signals
        return self._turn(self._rule.phase(step, signals), self._rule.passed(step, signals))

    def every(self) -> list[Turn]:
        """Give all turns in order; those of a later round, where phases are repeated."""
        numbers = list(self._drawn)
        return [self._turn(n, numbers if self._rule.repeat else numbers[:i]) for i, n in enumerate(numbers)]

    def sources(self, number: int) -> list[str]:
        """Name what a phase draws."""
        return self._drawn.get(number, [])

    def _turn(self, number: int, before: list[int]) -> Turn:
        key = (number, *before)
        if key not in self._known:
            now = tuple(self._drawn[number])
            passed = tuple(dict.fromkeys(name for of in before for name in self._drawn[of]))
            self._known[key] = Turn(number, now, tuple(name for name in passed if name not in now), passed)
        return self._known[key]


class Phased(L.Callback):
    """The base of callbacks that act from the second phase on; in a run of a single source (a twin) they do nothing."""

    def __init__(self) -> None:
        self._turns: Turns | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Refuse a run without phases.

        Raises:
            ValueError: There are none, or what the callback does cannot be done there.
        """
        self._turns = None
        if stage == "fit":
            self._turns = turns_of(trainer, pl_module, type(self).__name__)
        if self._turns is not None:
            self._look(trainer, pl_module, self._turns)

    def turn(self, trainer: L.Trainer) -> Turn | None:
        """Give the turn of the step that is being run; none where there are no phases."""
        sampler = sampler_of(trainer)
        if sampler is None or not isinstance(sampler.rule, Phases):
            return None
        if self._turns is None or self._turns.sampler is not sampler:  # the Trainer may make a new loader
            self._turns = Turns(sampler)
        return self._turns.now()

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the sampler."""
        super().teardown(trainer, pl_module, stage)
        self._turns = None

    def _look(self, trainer: L.Trainer, module: Any, turns: Turns) -> None:
        """Refuse what the callback cannot do."""


def turns_of(trainer: L.Trainer, module: Any, who: str) -> Turns | None:
    """Give the turns of a run before it begins; none for a single source of a schedule.

    Raises:
        ValueError: There is no schedule of phases.
    """
    if not isinstance(module, _Module):
        raise ValueError(
            f"{who} must have a module of lightning_mtl, got {type(module).__name__}. Use `MultiTaskModule`."
        )
    data: Any = getattr(trainer, "datamodule", None)
    sampler = getattr(data, "sampler", None)
    if not isinstance(sampler, MultiTaskSampler):
        raise ValueError(
            f"{who} must have a `MultiTaskDataModule`, which knows phases, got {type(data).__name__}. Feed the Trainer by one."
        )
    if isinstance(sampler.rule, Phases):
        return Turns(sampler)
    if len(sampler.names) == 1 and isinstance(data.sampling, Phases):
        return None
    raise ValueError(
        f"`sampling` must be `Phases` for {who}, got {sampler.rule}. Train in a row: "
        "sampling=Phases([Phase(['first'], epochs=5.0), Phase(['second'])], repeat=False)."
    )


def refuse_unread(sampler: MultiTaskSampler, sources: Iterable[str], who: str) -> None:
    """Refuse sources whose rows cannot be read by number once more.

    Raises:
        ValueError: Rows of one come one after another, or in batches of its own.
    """
    for name in sources:
        stream = sampler.streams[name]
        if not isinstance(stream, Rows):
            raise ValueError(
                f"Source {name!r} must have rows that can be read by number for {who}, which reads some again, got "
                f"{type(stream).__name__}. Give its dataset in memory or on disk: a file, a `datasets.Dataset`, a list; not a "
                "stream, nor a DataLoader with a sampler of its own."
            )


def kept_rows(sampler: MultiTaskSampler, source: str, rows: int, use: str) -> list[int]:
    """Choose rows of a source by the seed of the run and its name: the first of a random order, equal on all ranks."""
    size = sampler.streams[source].rows
    assert size is not None
    order = Rows(size, size, name=f"{use} of {source}")
    order.reseed(sampler.seed)
    return order.take(0, min(rows, size))


def read(trainer: L.Trainer, plan: Plan) -> dict[str, Any]:
    """Read rows as the Trainer would have them: of its loader, in its precision, on its device."""
    loader: Any = trainer.train_dataloader
    module: Any = trainer.lightning_module
    moved: dict[str, Any] = module.placed(loader.read(plan))
    return moved
