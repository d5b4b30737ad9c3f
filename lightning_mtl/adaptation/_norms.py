"""How layers that keep running statistics normalise within an episode."""

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
    """Leads the batch norms of a model past their running statistics, which no episode may move.

    "episode": the support is normalised by its own statistics, and so is the query, by those of the support after adaptation (one more
    pass over the support where there are such layers). Nothing is known of one query example from another.
    "transductive": support and query are each normalised by their own statistics, as in MAML: what is predicted for a query example depends
    on the others, and on how many there are. "running": the running statistics that the model came with.

    Instance norms with running statistics go by each row's own, but for "running". Layers without running statistics
    (`track_running_stats=False`, LayerNorm, GroupNorm) are left as they are.

    Args:
        model: The model.
        norm: One of the three.
    """

    def __init__(self, model: nn.Module, norm: Norm) -> None:
        self.norm = norm
        tracking = [layer for layer in model.modules() if isinstance(layer, _NormBase) and layer.track_running_stats]
        self.layers = [layer for layer in tracking if isinstance(layer, _BatchNorm)]
        self._of_rows = [layer for layer in tracking if not isinstance(layer, _BatchNorm)]
        self._leads = False
        self._noted: list[tuple[Any, Tensor, Tensor]] | None = None
        self._used: Iterator[tuple[Any, Tensor, Tensor]] | None = None

    @property
    def from_support(self) -> bool:
        """Whether a query is normalised by what is known of the support."""
        return self._leads and bool(self.layers) and self.norm == "episode"

    @contextmanager
    def led(self) -> Iterator[None]:
        """Take the place of the layers' own `forward`."""
        with ExitStack() as stack:
            for layer in (*self.layers, *self._of_rows):
                held: Any = layer
                own = held.__dict__.get("forward")
                held.forward = _Led(self, layer)
                stack.callback(_put_back, layer, own)
            self._leads = True
            try:
                yield
            finally:
                self._leads = False

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the statistics of what passes, layer by layer."""
        self._noted = []
        try:
            yield
        finally:
            self._used, self._noted = iter(self._noted), None

    @contextmanager
    def using(self) -> Iterator[None]:
        """Normalise what passes by the statistics that were noted."""
        try:
            yield
        finally:
            self._used = None

    def write(self) -> None:
        """Make the statistics that were noted the running ones."""
        for layer, mean, variance in self._used or ():
            layer.running_mean.copy_(mean.detach())
            layer.running_var.copy_(variance.detach())

    def apply(self, layer: Any, x: Tensor) -> Tensor:
        """Normalise what passes a layer."""
        normalise = F.batch_norm if isinstance(layer, _BatchNorm) else F.instance_norm
        if self.norm == "running":
            return normalise(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps)
        if normalise is F.batch_norm:
            if self._used is not None:
                return _normalised(layer, x, *next(self._used)[1:])
            if self._noted is not None:
                axes = [axis for axis in range(x.ndim) if axis != 1]
                variance, mean = torch.var_mean(x, axes, correction=0)
                self._noted.append((layer, mean, variance))
        return normalise(x, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)


def _normalised(layer: Any, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Normalise by given statistics, through which gradients pass."""
    shape = (1, -1, *([1] * (x.ndim - 2)))
    scale: Tensor = (variance + layer.eps).rsqrt()
    if layer.weight is None:
        return (x - mean.view(shape)) * scale.view(shape)
    made: Tensor = (x - mean.view(shape)) * (scale * layer.weight).view(shape) + layer.bias.view(shape)
    return made


def _put_back(layer: Any, own: Any) -> None:
    del layer.forward
    if own is not None:
        layer.forward = own


class _Led:
    def __init__(self, norms: EpisodeNorms, layer: Any) -> None:
        self.norms, self.layer = norms, layer

    def __call__(self, x: Tensor) -> Tensor:
        return self.norms.apply(self.layer, x)
