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
"""Examples of one episode, or of several with a leading axis: "inputs" are read by the encoder, "target" holds the labels. If only some
words have labels, "rows" holds their numbers among the words of all rows."""
Answer = tuple[Tensor, dict[str, Tensor]]
"""A loss, and a dictionary with "prediction" (e.g. logits) and "target" (the labels)."""


class Problem:
    """The loss and the predictions of a task, as functions of the parameters.

    Args:
        learner: Its `forward(data)` returns an `Answer`, and `forward(data, read=True)` the input of the head's layers.
        norms: How layers with running statistics normalise within an episode.
        constants: Tensors that replace other parameters and buffers of the learner.
    """

    def __init__(self, learner: nn.Module, norms: EpisodeNorms, constants: Parameters | None = None) -> None:
        self.learner = learner
        self.norms = norms
        self.constants = constants or {}
        self._slots = Slots(learner)

    def support(self, parameters: Parameters, data: Data) -> Answer:
        """Return the loss and the predictions of the support."""
        answer: Answer = self._call(parameters, data)
        return answer

    def query(self, parameters: Parameters, support: Data, query: Data) -> Answer:
        """Return the loss and the predictions of the query; the support may set the statistics of norms."""
        if not self.norms.from_support:
            return self.support(parameters, query)
        with self.norms.recording():
            self.support(parameters, support)
        with self.norms.replaying():
            return self.support(parameters, query)

    def features(self, parameters: Parameters, data: Data) -> Tensor:
        """Return the input of the head's layers, [rows, width]."""
        features: Tensor = self._call(parameters, data, read=True)
        return features

    def _call(self, parameters: Parameters, data: Data, **options: bool) -> Any:
        tensors = {**self.constants, **parameters}
        if torch.compiler.is_compiling():  # the compiler knows `functional_call`
            return functional_call(self.learner, self._slots.by_all_names(tensors), (data,), options, tie_weights=False)
        with self._slots.replaced(tensors):
            return self.learner(data, **options)
