"""How layers with running statistics normalise within an episode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

Norm = Literal["episode", "transductive", "running"]
NORMS = get_args(Norm)


class EpisodeNorms:
    """Makes the batch norms of a model use the statistics of an episode; no episode changes their running statistics.

    "episode": the support is normalised by its own statistics, and the query by those of the support after adaptation (one more
    forward pass over the support in models with such layers). The prediction for a query example does not depend on the others.
    "transductive": support and query are each normalised by their own statistics, as in MAML. The prediction for a query example
    depends on the other query examples, and on their number. "running": the running statistics of the model are used.

    Instance norms with running statistics normalise each row by its own statistics, except with "running". Layers without running
    statistics (`track_running_stats=False`, LayerNorm, GroupNorm) are not changed.

    Args:
        model: The model.
        norm: One of the three.
    """

    def __init__(self, model: nn.Module, norm: Norm) -> None:
        self.norm = norm
        tracking = [layer for layer in model.modules() if isinstance(layer, _NormBase) and layer.track_running_stats]
        self.layers = [layer for layer in tracking if isinstance(layer, _BatchNorm)]
        self._instance_norms = [layer for layer in tracking if not isinstance(layer, _BatchNorm)]
        self._active = False
        self._recorded: list[tuple[Any, Tensor, Tensor]] | None = None
        self._replayed: Iterator[tuple[Any, Tensor, Tensor]] | None = None

    @property
    def from_support(self) -> bool:
        """Whether a query is normalised by the statistics of the support."""
        return self._active and bool(self.layers) and self.norm == "episode"

    @contextmanager
    def replacing_forwards(self) -> Iterator[None]:
        """Replace the layers' `forward` for a while."""
        with ExitStack() as stack:
            for layer in (*self.layers, *self._instance_norms):
                norm: Any = layer
                own = norm.__dict__.get("forward")
                norm.forward = _EpisodeForward(self, layer)
                stack.callback(_restore_forward, layer, own)
            self._active = True
            try:
                yield
            finally:
                self._active = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the statistics of the inputs, layer by layer."""
        self._recorded = []
        try:
            yield
        finally:
            self._replayed, self._recorded = iter(self._recorded), None

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Normalise by the recorded statistics."""
        try:
            yield
        finally:
            self._replayed = None

    def write_running_statistics(self) -> None:
        """Write the recorded statistics to the running statistics of the layers."""
        for layer, mean, variance in self._replayed or ():
            layer.running_mean.copy_(mean.detach())
            layer.running_var.copy_(variance.detach())

    def apply(self, layer: Any, x: Tensor) -> Tensor:
        """Normalise the input of a layer."""
        normalise = F.batch_norm if isinstance(layer, _BatchNorm) else F.instance_norm
        if self.norm == "running":
            return normalise(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps)
        if normalise is F.batch_norm:
            if self._replayed is not None:
                return _normalised(layer, x, *next(self._replayed)[1:])
            if self._recorded is not None:
                axes = [axis for axis in range(x.ndim) if axis != 1]
                variance, mean = torch.var_mean(x, axes, correction=0)
                self._recorded.append((layer, mean, variance))
        return normalise(x, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)


def _normalised(layer: Any, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Normalise by these statistics; gradients pass through them."""
    shape = (1, -1, *([1] * (x.ndim - 2)))
    scale: Tensor = (variance + layer.eps).rsqrt()
    if layer.weight is None:
        return (x - mean.view(shape)) * scale.view(shape)
    output: Tensor = (x - mean.view(shape)) * (scale * layer.weight).view(shape) + layer.bias.view(shape)
    return output


def _restore_forward(layer: Any, own: Any) -> None:
    del layer.forward
    if own is not None:
        layer.forward = own


class _EpisodeForward:
    """The `forward` of a layer while its norms are those of the episode."""

    def __init__(self, norms: EpisodeNorms, layer: Any) -> None:
        self.norms, self.layer = norms, layer

    def __call__(self, x: Tensor) -> Tensor:
        return self.norms.apply(self.layer, x)
