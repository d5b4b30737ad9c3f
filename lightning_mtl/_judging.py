"""One network, trained and judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import lightning as L

from .datamodule import MultiTaskDataModule
from .module import MultiTaskModule


class Judged(NamedTuple):
    """A task's main metric on the split "test"; `sign` is 1 where higher is better, else -1."""

    metric: str
    sign: int
    value: float


def fit(trainer: L.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, start: str | None = None) -> str | None:
    """Train, and name the best checkpoint, if one is watched."""
    trainer.fit(module, data, ckpt_path=start)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    watched = getattr(trainer.checkpoint_callback, "monitor", None) is not None
    return best if best and watched else None


def scored(trainer: L.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, checkpoint: str | None) -> float:
    """Give `validate/score`.

    Raises:
        ValueError: There is none.
    """
    (results,) = trainer.validate(module, data, ckpt_path=checkpoint, verbose=False)
    if "validate/score" not in results:
        raise ValueError(
            f"The split 'validation' must give `validate/score`, got {sorted(results)}. Give a task `metrics`, and rows."
        )
    return float(results["validate/score"])


def judged(
    trainer: L.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, checkpoint: str | None
) -> dict[str, Judged]:
    """Test, and say how those tasks did that have a metric.

    Raises:
        ValueError: A task has no metric on the split "test".
    """
    (results,) = trainer.test(module, data, ckpt_path=checkpoint, verbose=False)
    mains = {task.name: main for task in module.tasks if (main := task.main_metric()) is not None}
    return {name: Judged(metric, sign, _result(dict(results), name, metric)) for name, (metric, sign) in mains.items()}


def refuse_once(data: MultiTaskDataModule) -> None:
    """Refuse generators: the second network would read on where the first one stopped.

    Raises:
        ValueError: A source can be read once.
    """
    if once := [name for name, source in data.sources.items() if isinstance(source.stream, Iterator)]:
        raise ValueError(
            f"`data` must give each network the same rows, got generators, which can be read once, for {once}. Give iterables that "
            "can be read anew, e.g. by `datasets.IterableDataset.from_generator`."
        )


def _result(results: dict[str, float], task: str, metric: str) -> float:
    key = f"test/{task}/{metric}"
    if key not in results:
        raise ValueError(f"The split 'test' must have at least two labels for task {task!r}, got no {key!r}. Add them.")
    return results[key]
