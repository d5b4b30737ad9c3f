"""The results of one batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class TaskResult:
    """The result of one batch for one task that has labels in it.

    Args:
        task: Its number.
        loss: Its mean loss over the labels of this rank.
        prediction: The head's output (logits, or values) for the rows, or words, that have a label.
        target: Their labels.
        sequence: For words, the number of the row that each belongs to.
        forward_pass: The number of the encoder's forward pass that the loss depends on. None: it may share its graph with any
            other loss.
    """

    task: int
    loss: Tensor
    prediction: Tensor
    target: Tensor
    sequence: Tensor | None = None
    forward_pass: int | None = None


@dataclass(slots=True)
class Step:
    """The results of one batch: one for each task that has labels in it."""

    results: list[TaskResult] = field(default_factory=list)
    features: Tensor | None = None
    """The output of the encoder; the zero loss of a batch without labels depends on it."""
    idle: dict[int, Tensor] = field(default_factory=dict)
    """Zeros that depend on heads which were run without labels, since other ranks have some (see `TaskModule.sharded`)."""

    @property
    def tasks(self) -> tuple[int, ...]:
        """The tasks that have labels, by their numbers."""
        return tuple(result.task for result in self.results)

    @property
    def losses(self) -> tuple[Tensor, ...]:
        """Their losses."""
        return tuple(result.loss for result in self.results)

    def sort(self) -> Step:
        """Sort the results by the numbers of their tasks."""
        self.results.sort(key=lambda result: result.task)
        return self

    def needs_graph(self) -> list[bool]:
        """Return for each loss whether a later one may need its graph."""
        passes = [result.forward_pass for result in self.results]
        return [
            any(later in (None, each) or each is None for later in passes[i + 1 :]) for i, each in enumerate(passes)
        ]
