"""A task as a function of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ._norms import EpisodeNorms
from ._slots import Slots

Parameters = dict[str, Tensor]
"""Parameters by their names in the module."""
Data = Mapping[str, Any]
"""Examples of one episode: "inputs", which the encoder reads, and labels, "target"; where only some words have labels, the numbers of these
among the words of all rows, "rows". Or examples of several, with a leading axis."""
Answer = tuple[Tensor, dict[str, Tensor]]
"""A loss; and what was predicted in the scale of the loss, "prediction", beside the labels, "target"."""


class Problem:
    """What examples of a task cost, and what is predicted for them, as functions of the parameters.

    Args:
        learner: Its `forward(data)` gives an `Answer`; `forward(data, read=True)` the features that the head's layers read.
        norms: How layers that keep running statistics normalise within an episode.
        constants: What takes the place of other parameters and buffers of the learner.
    """

    def __init__(self, learner: nn.Module, norms: EpisodeNorms, constants: Parameters | None = None) -> None:
        self.learner = learner
        self.norms = norms
        self.constants = constants or {}
        self._slots = Slots(learner)

    def support(self, parameters: Parameters, data: Data) -> Answer:
        """Give the loss of examples that are learned from, and their predictions."""
        answer: Answer = self._call(parameters, data)
        return answer

    def query(self, parameters: Parameters, support: Data, query: Data) -> Answer:
        """Give the loss of examples that are judged by, and their predictions, the others being known."""
        if not self.norms.from_support:
            return self.support(parameters, query)
        with self.norms.noting():
            self.support(parameters, support)
        with self.norms.using():
            return self.support(parameters, query)

    def features(self, parameters: Parameters, data: Data) -> Tensor:
        """Give what the head's layers read, [rows, width]."""
        features: Tensor = self._call(parameters, data, read=True)
        return features

    def _call(self, parameters: Parameters, data: Data, **options: bool) -> Any:
        given = {**self.constants, **parameters}
        if torch.compiler.is_compiling():  # the compiler knows this function
            return functional_call(self.learner, self._slots.spread(given), (data,), options, tie_weights=False)
        with self._slots.taken(given):
            return self.learner(data, **options)
