"""What a plain baseline predicts: the same for every row, learned from the training labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..heads import Head

KEPT = "constants"
"""The key of constant predictions in what a head has learned."""


def constants_of(head: Head, target: Tensor) -> list[Any]:
    """Return the constant predictions of a head that fit some labels: mean and median of numbers, shares of classes.

    Args:
        head: The head.
        target: The labels of all training examples, in the head's form; for a label at each position those of all positions.

    Returns:
        Numbers, or a list of numbers for several outputs or classes; nothing for heads that have no constant prediction.
    """
    values = target.detach().double()
    match head.kind:
        case "binary":
            return [values.mean().item()]
        case "multiclass" | "tagging":
            counts = torch.bincount(target.detach().flatten(), minlength=head.outputs)
            return [(counts.double() / counts.sum()).tolist()]
        case "multilabel":
            return [values.masked_fill(values < 0, torch.nan).nanmean(0).nan_to_num(0.5).tolist()]
        case "regression":
            return [values.mean(0).tolist(), values.median(0).values.tolist()]
    return []


def known_constants(head: Head) -> list[Any]:
    """Return the constant predictions that a head knows."""
    found: list[Any] = head.learned().get(KEPT, [])
    return found
