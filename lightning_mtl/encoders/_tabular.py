"""A trunk for tables."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Tabular(nn.Module):
    """Read a row of numbers with a multilayer perceptron (Gorishniy et al., NeurIPS 2021, section 3.1).

    A trunk for `HardSharing` and its like, for the column "features" of a `Source(features=...)`. Each layer is linear,
    then a rectifier, then dropout; a head adds the last linear layer. The source scales the columns.

    Args:
        width: Size of each layer, and of the features.
        layers: How many layers there are.
        dropout: Share of each layer's output that is dropped while training, in [0, 1).
        inputs: How many columns there are. Default: what `build` is told before training.

    Raises:
        ValueError: `width`, `layers` or `inputs` is below one, or `dropout` lies outside [0, 1).

    Example:
        >>> import torch
        >>> trunk = Tabular(16)
        >>> trunk.build(3)
        >>> trunk(torch.ones(2, 3)).shape
        torch.Size([2, 16])
    """

    def __init__(self, width: int = 64, *, layers: int = 2, dropout: float = 0.0, inputs: int | None = None) -> None:
        super().__init__()
        for name, value in {"width": width, "layers": layers, "inputs": inputs}.items():
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}. Leave it out for the default.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1), got {dropout}. Leave it out for none.")
        self.width = width
        self.layers = layers
        self.dropout = dropout
        self.inputs: int | None = None
        self.network: nn.Sequential | None = None
        if inputs is not None:
            self.build(inputs)

    def build(self, columns: int) -> None:
        """Make the layers for this many columns; do nothing if that was done.

        Raises:
            ValueError: They were made for another number.
        """
        if self.network is None:
            sizes = pairwise([columns, *[self.width] * self.layers])
            steps = [(nn.Linear(*size), nn.ReLU(), nn.Dropout(self.dropout)) for size in sizes]
            self.network = nn.Sequential(*[layer for step in steps for layer in step])
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
                "a MultiTaskDataModule that tells it."
            )
        made: Tensor = self.network(features)
        return made
