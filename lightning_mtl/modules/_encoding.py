"""What an encoder fails on, and what it must return."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..encoders import Encoder

_SHAPES = re.compile(
    r"shapes cannot be multiplied|size mismatch|must match|normalized_shape|Expected \d?.*(dim|input|channels)|expected input|"
    r"expected .* to have|size of tensor|Given (groups|input size)|invalid for input of size|unexpected keyword|"
    r"positional argument"
)


def refuse_misfit(error: Exception, encoder: Encoder, inputs: Mapping[str, Any]) -> None:
    """Say what an encoder was given, where its error is that this does not fit it.

    Args:
        error: The error.
        encoder: The encoder.
        inputs: What it was given.

    Raises:
        ValueError: It does not fit.
    """
    if not _SHAPES.search(str(error)):
        return
    shapes = {name: list(of.shape) if isinstance(of, Tensor) else type(of).__name__ for name, of in inputs.items()}
    raise ValueError(
        f"The input columns must be those that {_named(encoder)} reads, got {shapes} (rows first); it fails with: {error}. Correct the "
        "rows or the layers; `inputs` of HardSharing names the columns that a network reads, in its order."
    ) from error


def refuse_other_features(features: Any, tasks: Sequence[str], encoder: Encoder) -> None:
    """Check that an encoder returns features of its `width` for each task.

    Raises:
        ValueError: It does not.
    """
    if not isinstance(features, Mapping) or any(name not in features for name in tasks):
        found = list(features) if isinstance(features, Mapping) else type(features).__name__
        raise ValueError(
            f"{_named(encoder)} must return {{task: features}} for {list(tasks)}, got {found}. Correct its `forward`."
        )
    values = features[tasks[0]]
    values = values[0] if isinstance(values, tuple) else values
    if not isinstance(values, Tensor):
        raise ValueError(
            f"{_named(encoder)} must return a tensor for each task, or one with its mask, got {type(values).__name__}. Return the features "
            "alone."
        )
    if values.shape[-1] != encoder.width:
        raise ValueError(
            f"`width` of {_named(encoder)} must be the size of its features, got {encoder.width}, and features of shape "
            f"{list(values.shape)}. Give width={values.shape[-1]}, or change its last layer."
        )


def _named(encoder: Encoder) -> str:
    trunk = getattr(encoder, "trunk", None)
    return type(encoder).__name__ if trunk is None else f"{type(encoder).__name__}({type(trunk).__name__})"
