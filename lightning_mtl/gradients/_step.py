"""What one batch gave."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class TaskResult:
    """What one batch gave for one task that has labels in it.

    Args:
        task: Its number.
        loss: Its mean loss over the labels of this rank.
        prediction: The head's output (logits, or values) for the rows, or words, that have a label.
        target: Their labels.
        sequence: For words, the number of the row that each belongs to.
        forward_pass: The number of the forward pass through the encoder that the loss comes from. None: its graph may be that of any
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
    """What one batch gave: a record for each task that has labels in it."""

    results: list[TaskResult] = field(default_factory=list)
    features: Tensor | None = None
    """What the encoder returned: a batch without labels hangs its zero loss on it."""
    idle: dict[int, Tensor] = field(default_factory=dict)
    """Zeros that hang on heads which were run without labels, since other ranks have some (see `TaskModule.sharded`)."""

    @property
    def tasks(self) -> list[int]:
        """The tasks that have labels, by their numbers."""
        return [result.task for result in self.results]

    @property
    def losses(self) -> list[Tensor]:
        """Their losses."""
        return [result.loss for result in self.results]

    def sort(self) -> Step:
        """Bring the records into the order of the tasks' numbers."""
        self.results.sort(key=lambda result: result.task)
        return self

    def needs_graph(self) -> list[bool]:
        """Return for each loss whether a later one may need the graph that it hangs on."""
        passes = [result.forward_pass for result in self.results]
        return [
            any(later in (None, each) or each is None for later in passes[i + 1 :]) for i, each in enumerate(passes)
        ]
