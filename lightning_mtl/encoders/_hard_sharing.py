"""Hard parameter sharing: one trunk, the same features for every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from ._base import Encoder, Features, Tokenizer


class HardSharing(Encoder):
    """Share all of the encoder: each task reads the same features (Caruana, "Multitask Learning", 1997).

    The trunk is any module that returns features, [batch, width] or ([batch, length, width], mask). If the source has
    one input column, the trunk is called with it; if there are several, with all of them by name. `inputs` selects some.

    Args:
        trunk: The shared module.
        width: Size of the last dimension of the features. Default: `trunk.width`.
        inputs: Names of the columns that the trunk reads, in the order of its arguments. Default: all input columns.
        tokenizer: Turns texts into the trunk's input columns. Default: `trunk.tokenizer`, if it has one.

    Raises:
        ValueError: `width` is below 1, or neither given nor an attribute of the trunk; or a batch lacks a column.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> encoder = HardSharing(nn.Linear(5, 16), width=16)
        >>> encoder({"x": torch.ones(2, 5)}, ["a", "b"])["b"].shape
        torch.Size([2, 16])
    """

    shares_features: ClassVar[bool] = True

    def __init__(
        self,
        trunk: nn.Module,
        width: int | None = None,
        *,
        inputs: Sequence[str] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__()
        size = getattr(trunk, "width", None) if width is None else width
        if not isinstance(size, int) or size < 1:
            raise ValueError(
                f"`width` must be the size (at least 1) of the features that {type(trunk).__name__} returns, got {size}."
                " Give it: HardSharing(trunk, width=64)."
            )
        self.trunk = trunk
        self.width = size
        self.inputs = None if inputs is None else tuple(inputs)
        self.tokenizer = tokenizer or getattr(trunk, "tokenizer", None)
        vocabulary = getattr(trunk, "vocabulary", None)
        self.vocabulary = vocabulary if isinstance(vocabulary, int) else None

    def build(self, sizes: dict[str, int]) -> None:
        """Call the trunk's method `build`, if it has one, with the number of columns that it reads.

        Args:
            sizes: The size of the last axis of each input column of floating point numbers.
        """
        column = self.inputs[0] if self.inputs else "features"
        build: Any = getattr(self.trunk, "build", None)
        if callable(build) and column in sizes:
            build(sizes[column])

    def forward(self, inputs: dict[str, Any], tasks: Sequence[str]) -> dict[str, Features]:
        """Run the trunk once, and return its features for each task."""
        if self.inputs is not None:
            features = self.trunk(*self._selected(inputs))
        else:
            features = self.trunk(*inputs.values()) if len(inputs) == 1 else self.trunk(**inputs)
        return dict.fromkeys(tasks, features)

    def description(self) -> dict[str, Any]:
        """Return its arguments; a tokenizer that belongs to the trunk is left out."""
        own = self.tokenizer is getattr(self.trunk, "tokenizer", None)
        tokenizer = None if own else self.tokenizer
        return {"trunk": self.trunk, "width": self.width, "inputs": self.inputs, "tokenizer": tokenizer}

    def _selected(self, inputs: dict[str, Any]) -> list[Any]:
        assert self.inputs is not None
        if missing := [name for name in self.inputs if name not in inputs]:
            raise ValueError(
                f"`inputs` must be columns of the batch, got {missing}; columns are {list(inputs)}. Rename them."
            )
        return [inputs[name] for name in self.inputs]
