"""A trunk for the rows of a table."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from ._sizes import require_sizes


class Tabular(nn.Module):
    """Read a row of numbers with a multilayer perceptron (Gorishniy et al., NeurIPS 2021, section 3.1).

    A trunk for `HardSharing` and similar encoders. It reads the column "features" of a `Source(features=...)`, which scales
    the numbers. Each layer is a linear layer, then ReLU, then dropout; a head adds the last linear layer.

    Args:
        width: Size of each layer, and of the features.
        layers: Number of layers.
        dropout: Share of each layer's output that is dropped in training, in [0, 1).
        inputs: Number of columns. Default: the data module passes it to `build` before training.

    Raises:
        ValueError: `width`, `layers` or `inputs` is below 1, or `dropout` lies outside [0, 1).

    Example:
        >>> import torch
        >>> trunk = Tabular(16)
        >>> trunk.build(3)
        >>> trunk(torch.ones(2, 3)).shape
        torch.Size([2, 16])
    """

    def __init__(self, width: int = 64, *, layers: int = 2, dropout: float = 0.0, inputs: int | None = None) -> None:
        super().__init__()
        require_sizes(dropout, width=width, layers=layers, inputs=1 if inputs is None else inputs)
        self.width = width
        self.layers = layers
        self.dropout = dropout
        self.inputs: int | None = None
        self.network: nn.Sequential | None = None
        if inputs is not None:
            self.build(inputs)

    def build(self, columns: int) -> None:
        """Create the layers for this number of columns, unless they exist.

        Raises:
            ValueError: They exist, for another number of columns.
        """
        if self.network is None:
            sizes = pairwise([columns, *[self.width] * self.layers])
            blocks = [(nn.Linear(*size), nn.ReLU(), nn.Dropout(self.dropout)) for size in sizes]
            self.network = nn.Sequential(*[layer for block in blocks for layer in block])
            self.inputs = columns
        if columns != self.inputs:
            raise ValueError(
                f"`columns` must be the number that the trunk was made for, {self.inputs}, got {columns}. Give each source "
                "the same features, or make a new trunk."
            )

    def forward(self, features: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch width"]:
        """Compute the features of each row.

        Raises:
            ValueError: The number of columns is not known yet.
        """
        if self.network is None:
            raise ValueError(
                "`inputs` of a Tabular must be known before it is used, got None. Give it, Tabular(inputs=7), or train with "
                "a MultiTaskDataModule, which sets it."
            )
        output: Tensor = self.network(features)
        return output
