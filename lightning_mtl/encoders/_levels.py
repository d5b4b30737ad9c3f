"""Any stack of modules, cut into levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

from torch import Tensor, nn

from .._checks import require_numbers
from ._levelled import LevelledEncoder, State, add_feed


class Levels(LevelledEncoder):
    """Cut a stack of modules (layers of a perceptron, stages of a convolutional network) into levels.

    Each module is called with the output of the one below: [batch, width] or [batch, length, width] (either may come with a
    mask), or feature maps [batch, channels, height, width], whose pixels are positions for the heads.

    Args:
        trunk: An `nn.Sequential`, or a list of modules.
        cut: The last module of each level, by its name in the trunk, or by the number of modules up to it. Default: each
            module is a level.
        widths: Size of the features of each level. Default: the output size of its last layer that has one.
        stages: Names of the levels. Default: the names in `cut`.
        inputs: The column that the first module reads. Default: the only column.

    Raises:
        ValueError: A cut names no module, the cuts do not rise, the last one is not the end, or a width is unknown.

    Example:
        >>> import torch
        >>> trunk = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        >>> encoder = Levels(trunk, cut=[2, 4])
        >>> encoder.widths, encoder.step(encoder.prepare({"x": torch.ones(2, 5)}), 1).hidden.shape
        ((16, 8), torch.Size([2, 16]))
    """

    def __init__(
        self,
        trunk: nn.Sequential | Sequence[nn.Module],
        cut: Sequence[str | int] | None = None,
        *,
        widths: Sequence[int] | None = None,
        stages: Sequence[str] = (),
        inputs: str | None = None,
    ) -> None:
        remedy = "Give the size of the features of each level."
        require_numbers("widths", widths, remedy, at_least=1, whole=True, optional=True)
        named = trunk._modules if isinstance(trunk, nn.Sequential) else dict(enumerate(trunk))
        names, modules = [str(name) for name in named], [part for part in named.values() if part is not None]
        ends = list(range(1, len(modules) + 1)) if cut is None else [_end(names, at) for at in cut]
        if ends != sorted(set(ends)) or not ends or ends[-1] != len(modules):
            raise ValueError(
                f"`cut` must rise and end at the last module, {names[-1:]}, got {cut} of {names}. Leave out modules that no task reads."
            )
        levels = [_Stack(*modules[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        found: list[int | None] = [_width(level) for level in levels] if widths is None else list(widths)
        if None in found:
            raise ValueError(
                f"`widths` must be given, since the size of the features of level {found.index(None) + 1} is not known: "
                f"Levels(trunk, cut, widths=[...]), {len(levels)} of them."
            )
        if not stages and cut is not None and all(isinstance(at, str) for at in cut):
            stages = [str(at) for at in cut]
        super().__init__(levels, [size for size in found if size is not None], stages)
        self.inputs = inputs

    def description(self) -> dict[str, Any]:
        """Return its arguments."""
        parts = [[part for part in level._modules.values() if part is not None] for level in self.levels]
        names = {"widths": self.widths, "stages": self.stages, "inputs": self.inputs}
        return {"trunk": nn.Sequential(*chain(*parts)), "cut": list(accumulate(map(len, parts))), **names}

    def prepare(self, inputs: dict[str, Any]) -> State:
        """Return the column that the first module reads.

        Raises:
            ValueError: There are several columns and `inputs` names none, or the named one is missing.
        """
        wanted = self.inputs if self.inputs is not None or len(inputs) != 1 else next(iter(inputs))
        if wanted not in inputs:
            raise ValueError(
                f"`inputs` must name a column of the batch, got {self.inputs!r}; columns are {list(inputs)}. Name one: "
                f"Levels(..., inputs={next(iter(inputs), 'x')!r})."
            )
        return State(inputs[wanted])

    def entrance(self, level: int) -> int:
        """Return the size of the feeds that can be added to the input of this level.

        Raises:
            ValueError: It is the first level, whose input is the data.
        """
        if level == 1:
            raise ValueError("Tasks must feed a level above the first of `Levels`, whose input is the data.")
        return self.widths[level - 2]

    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run the modules of one level."""
        output = self.levels[level - 1](add_feed(state.hidden, extra))
        hidden, mask = output if isinstance(output, tuple) else (output, state.mask)
        return State(hidden, mask, state.context)


class _Stack(nn.Sequential):
    """A sequence of modules that also passes on a mask: each is called without it, and may return another."""

    def forward(self, hidden: Any) -> Any:
        mask: Tensor | None = None
        for part in self:
            output = part(hidden)
            hidden, mask = output if isinstance(output, tuple) else (output, mask)
        return hidden if mask is None else (hidden, mask)


def _end(names: list[str], at: str | int) -> int:
    if isinstance(at, int) and 1 <= at <= len(names):
        return at
    if at in names:
        return names.index(str(at)) + 1
    raise ValueError(
        f"`cut` must name modules of the trunk, {names}, or count them from 1 to {len(names)}, got {at!r}."
    )


def _width(level: nn.Module) -> int | None:
    """Return the output size of a level's last layer that has one, if it is known."""
    for part in reversed(list(level.modules())):
        if isinstance(part, nn.Flatten):
            return None
        for name in ("width", "out_features", "out_channels", "num_features"):
            if isinstance(size := getattr(part, name, None), int):
                return size
    return None
