"""A trained hierarchy as a plain module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ..encoders import LevelledEncoder
from ..modules import Exported
from ..task import Task
from ._forward import ForwardPass
from ._hierarchy import Hierarchy


class ExportedHierarchy(Exported):
    """The levels, heads and feeds that some tasks need, without Lightning.

    Args:
        hierarchy: The levels of the tasks.
        encoder: The encoder.
        tasks: All tasks.
        wanted: Numbers of those to predict.
        hidden: Columns that a batch may hold and the encoder does not read.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        encoder: LevelledEncoder,
        tasks: Sequence[Task],
        wanted: Sequence[int],
        hidden: Iterable[str] = (),
    ) -> None:
        closure = sorted(hierarchy.closure(wanted))
        top = max(hierarchy.top[i] for i in closure)
        super().__init__(encoder.up_to(top), [tasks[i] for i in closure], hidden)
        self.tasks = list(wanted)
        self.hierarchy = hierarchy.up_to(top, closure)
        self.eval()

    def outputs(self, inputs: dict[str, Tensor], words: Tensor | None = None) -> dict[str, Tensor]:
        """Return the output of each task's head; see `Exported`."""
        encoder: Any = self.encoder
        forward = ForwardPass(self.hierarchy, encoder, self.heads._modules, inputs, self.tasks, words=words).run()
        names = self.hierarchy.names
        return {names[i]: forward.predictions[i] for i in self.tasks}
