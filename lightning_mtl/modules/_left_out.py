"""What an evaluation leaves out, and says so."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..task import Scoring

_SHOWN = 5
_FEW = 10  # training batches, in which a rare label may be missing by chance


class LeftOut:
    """Notes which metrics are not defined on a split, and warns of them once for each stage and task."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], dict[str, str]] = {}
        self._defined: set[tuple[str, str]] = set()
        self._batches: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()

    def note(self, stage: str, task: str, undefined: Mapping[str, str], defined: Iterable[str]) -> None:
        """Note the metrics of a task that are not defined, with what they lack, and those that are."""
        noted = self._noted.setdefault((stage, task), {})
        noted |= {metric: f"`{metric}` is not defined and not logged: {why}" for metric, why in undefined.items()}
        if stage == "train":  # of single batches, which may lack what others have
            self._batches[task] += 1
            self._defined |= {(task, metric) for metric in defined}
            for metric in (metric for of, metric in self._defined if of == task):
                noted.pop(metric, None)

    def note_partial(self, stage: str, task: str, partly: Mapping[str, Sequence[int]], names: Sequence[object]) -> None:
        """Note the metrics that are averages without some labels or outputs, in which they are not defined.

        Args:
            stage: The stage.
            task: Name of the task.
            partly: The numbers of these labels or outputs, by metric.
            names: The names of all of them.
        """
        for metric, columns in partly.items() if stage != "train" else ():
            shown = ", ".join(repr(names[i]) for i in columns[:_SHOWN]) + ", ..." * (len(columns) > _SHOWN)
            said = f"`{metric}` is not defined for {len(columns)} of {len(names)}, and averaged without them: {shown}"
            self._noted.setdefault((stage, task), {})[metric] = said

    def note_score(self, stage: str, scoring: Scoring, *, computed: bool, known: bool) -> None:
        """Note that a task has no score.

        Args:
            stage: The stage.
            scoring: How it is made.
            computed: Whether its metric is defined.
            known: Whether there is a plain baseline to compare with.
        """
        why = "" if not computed else f": {_no_score(scoring, known=known)}"
        self._noted.setdefault((stage, scoring.task), {})[""] = f"it does not count for `{stage}/score`{why}"

    def warn(self, stage: str, few: Sequence[str], *, on: bool) -> None:
        """Warn of what was noted in a stage and not told yet.

        Args:
            stage: The stage.
            few: Tasks with fewer than two labels.
            on: Whether this process warns.
        """
        unlabelled = [task for task in few if (stage, task) not in self._told]
        if unlabelled and on:
            warnings.warn(
                f"Fewer than two labelled examples to {stage} {unlabelled} on: their metrics are left out.",
                stacklevel=2,
            )
        self._told |= {(stage, task) for task in unlabelled}
        for (of, task), said in self._noted.items():
            if stage == "train" and self._batches[task] < _FEW:
                continue
            if of == stage and said and (stage, task) not in self._told:
                self._told.add((stage, task))
                if on:
                    rows = (
                        "in the training batches that were logged" if stage == "train" else f"on the rows to {stage} on"
                    )
                    warnings.warn(f"Task {task!r}, {rows}: {'; '.join(said.values())}.", stacklevel=2)


def _no_score(scoring: Scoring, *, known: bool) -> str:
    if scoring.own is not None:
        return "its `score` returned NaN"
    if known:
        return f"`{scoring.metric}` would count as a share of that of a constant prediction, which is 0; give Task(score=...)"
    return (
        f"`{scoring.metric}` declares no highest value, and counts as a share of that of a constant prediction, but the training labels are "
        "not known. Train with `MultiTaskDataModule`, call `Task.fit` with them, or give Task(score=...)"
    )
