"""Losses and predictions of the queries of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from ..adaptation import Outcome, carried, whole

OWN = "adaptation."
"""Prefix of the names of parameters that the adaptation learns itself."""
_APART = 2**20
"""More than an episode has sentences, so that those of different episodes have different numbers."""


def query_loss(outcomes: Sequence[Outcome], parameters: Mapping[str, Tensor] | None) -> Tensor:
    """Return the mean loss over the rows of all queries; in training with its gradients.

    Args:
        outcomes: The results of adapting to the episodes.
        parameters: In training the parameters that get gradients, by name.
    """
    rows = sum(outcome.rows for outcome in outcomes)
    return reduce(torch.add, [_share_of(outcome, rows, parameters) for outcome in outcomes])


def _share_of(outcome: Outcome, rows: int, parameters: Mapping[str, Tensor] | None) -> Tensor:
    share = outcome.rows_each / rows
    loss = outcome.total() * share
    if parameters is None:
        return loss
    gradients = {**outcome.gradients, **{OWN + name: value for name, value in outcome.learned.items()}}
    return carried(loss, gradients, parameters, share)


def query_predictions(outcomes: Sequence[Outcome]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Join the predictions for the rows of all queries, their labels, and for words the sentence of each."""
    found: dict[str, list[Tensor]] = {}
    for number, outcome in enumerate(outcomes):
        for name, value in outcome.joined().items():
            if name == "sequence":
                value = value + _APART * torch.arange(len(value), device=value.device).unsqueeze(1) + number * _APART**2
            found.setdefault(name, []).append(value.flatten(0, 1))
    return whole(found["prediction"]), whole(found["target"]), whole(found["sequence"]) if "sequence" in found else None
