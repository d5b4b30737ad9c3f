"""The Trainers that the caller makes, one for each run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from .._lightning import callbacks_of, fixed_files
from ..callbacks import StatefulCallback
from ._before import monitors_validation

_ONE_EACH = (
    "A run would continue where another ended. Make a new one for each run, e.g. `trainer=lambda run: L.Trainer(...)`."
)
_LIMITS = {
    "max_epochs": "epochs",
    "max_steps": "steps",
    "limit_train_batches": "batches",
    "accumulate_grad_batches": "batches",
}


class NewTrainers:
    """Makes the Trainers of runs, and checks that each is a new one, which trains and measures.

    Args:
        make: The caller's function, from the name of a run to a Trainer; it may be anything.
        splits: The splits on which each network is measured in the end.
    """

    def __init__(self, make: Any, splits: Sequence[str] = ("test",)) -> None:
        if not callable(make):
            raise ValueError(
                f"`trainer` must be a function that makes a Trainer, got {type(make).__name__}. {_ONE_EACH}"
            )
        self._make, self._splits = make, splits
        self._seen: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._files: dict[str, str] = {}

    def __call__(self, run: str) -> L.Trainer:
        """Make the Trainer of a run.

        Raises:
            ValueError: It is none, or not new, or has a part of an earlier one, or does not train or test.
        """
        made: Any = self._make(run)
        if not isinstance(made, L.Trainer):
            raise ValueError(
                f"`trainer` must make a Trainer for the run {run!r}, got {type(made).__name__}. {_ONE_EACH}"
            )
        if self._knows(made) or made.current_epoch or made.global_step:
            raise ValueError(
                f"`trainer` must make a new Trainer for each run, got one for {run!r} that has been used for another "
                f"({made.current_epoch} epochs, {made.global_step} steps). {_ONE_EACH}"
            )
        for part in _kept_parts(made):
            if self._knows(part):
                raise ValueError(
                    f"`trainer` must make new loggers and callbacks for each run, got a {type(part).__name__} for {run!r} that an "
                    "earlier run has. Make it within `trainer`."
                )
        self._refuse_same_files(made, run)
        refuse_idle(made, self._splits)
        for part in [made, *_kept_parts(made)]:
            self._seen[id(part)] = part
        return made

    def _refuse_same_files(self, trainer: L.Trainer, run: str) -> None:
        for file in fixed_files(trainer):
            if self._files.setdefault(file, run) != run:
                raise ValueError(
                    f"`trainer` must give each run files of its own, got {file!r} for {run!r} and for {self._files[file]!r}. Put the "
                    "name of the run into the path: `trainer` gets it."
                )

    def _knows(self, part: Any) -> bool:
        return self._seen.get(id(part)) is part


def refuse_idle(trainer: L.Trainer, splits: Sequence[str] = ("test",)) -> None:
    """Check that a Trainer trains, and that it reads the splits that are needed.

    Args:
        trainer: The Trainer.
        splits: The splits on which the network is measured in the end.

    Raises:
        ValueError: It does not.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    for name, unit in _LIMITS.items():
        if getattr(trainer, name) == 0:
            raise ValueError(f"`{name}` must be above 0, got 0: nothing would be trained. Give the number of {unit}.")
    if "test" in splits and trainer.limit_test_batches == 0:
        raise ValueError(
            "`limit_test_batches` must be above 0, got 0: networks are measured on the split 'test'. Leave it out."
        )
    if trainer.limit_val_batches == 0 and ("validation" in splits or monitors_validation(trainer)):
        raise ValueError(
            "`limit_val_batches` must be above 0 where the split 'validation' chooses a checkpoint or gives the score, got 0. Leave it "
            "out, or, where networks are compared by their tests, set `enable_checkpointing` to false."
        )
    if trainer.barebones:
        raise ValueError("`barebones` must be false, since such a Trainer logs no result, got true. Leave it out.")


def _kept_parts(trainer: L.Trainer) -> Iterable[Any]:
    """Return the parts of a Trainer that keep what a run was: loggers, checkpoints and callbacks with a state."""
    stateful = [of for of in callbacks_of(trainer) if _keeps_state(of)]
    return [*trainer.loggers, *stateful]


def _keeps_state(callback: L.Callback) -> bool:
    own = type(callback).state_dict is not L.Callback.state_dict
    return isinstance(callback, Checkpoint) or (own and not isinstance(callback, StatefulCallback))
