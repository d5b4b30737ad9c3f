"""A head called on what an encoder returns."""

from __future__ import annotations

from torch import Tensor

from ._base import Head


def through(head: Head, features: Tensor | tuple[Tensor, Tensor | None], words: Tensor | None = None) -> Tensor:
    """Return the prediction of a head.

    Args:
        head: The head.
        features: What the encoder returned: features, with their mask where there are positions.
        words: The number of the word that starts at each position, -1 elsewhere; a head that points at words uses it as its mask.
    """
    values, mask = features if isinstance(features, tuple) else (features, None)
    if head.points and words is not None:
        mask = words >= 0
    prediction: Tensor = head(values) if mask is None else head(values, mask)
    return prediction
