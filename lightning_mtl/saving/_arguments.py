"""The arguments with which an object was made, read off the object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torchmetrics
from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_METRIC_FLAGS = {  # what every metric takes beside its own arguments, and the default
    "compute_on_cpu": False,
    "dist_sync_on_step": False,
    "sync_on_compute": True,
    "compute_with_cache": True,
}
# How to read an argument that is not in an attribute of its name.
_READERS: dict[type, dict[str, Callable[[Any], Any]]] = {
    nn.MultiheadAttention: {
        "bias": lambda module: module.in_proj_bias is not None,
        "add_bias_kv": lambda module: module.bias_k is not None,
    },
    nn.TransformerEncoderLayer: {
        "d_model": lambda module: module.linear1.in_features,
        "nhead": lambda module: module.self_attn.num_heads,
        "dim_feedforward": lambda module: module.linear1.out_features,
        "dropout": lambda module: module.dropout.p,
        "layer_norm_eps": lambda module: module.norm1.eps,
        "batch_first": lambda module: module.self_attn.batch_first,
        "bias": lambda module: module.linear1.bias is not None,
    },
    nn.TransformerEncoder: {"encoder_layer": lambda module: module.layers[0]},
    torchmetrics.MetricCollection: {
        "metrics": lambda metrics: dict(metrics.items(keep_base=True, copy_state=False)),
        "compute_groups": lambda metrics: metrics._enable_compute_groups,
    },
}


def arguments_of(value: Any) -> dict[str, Any]:
    """Return the arguments that make an object like this one; those that have their default may be left out.

    Args:
        value: An object of a class that a checkpoint may hold.

    Raises:
        AttributeError: The object does not keep one of its arguments.
    """
    kind = type(value)
    if hasattr(kind, "description"):
        return dict(value.description())
    if kind in CONTAINERS:
        return dict(value._modules)
    if isinstance(value, nn.RNNBase):
        extra = {nn.RNN: ["nonlinearity"], nn.LSTM: ["proj_size"]}.get(kind, [])
        return {name: getattr(value, name) for name in [*_RECURRENT, *extra]}
    found: dict[str, Any] = {}
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        found |= _argument(value, parameter)
    return found


def _argument(value: Any, parameter: inspect.Parameter) -> dict[str, Any]:
    name, default = parameter.name, parameter.default
    if parameter.kind is parameter.VAR_KEYWORD and isinstance(value, torchmetrics.Metric):
        return {flag: getattr(value, flag) for flag, usual in _METRIC_FLAGS.items() if getattr(value, flag) != usual}
    unnamed = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    if unnamed or name in ("device", "dtype") or name.startswith("_"):
        return {}
    if read := _READERS.get(type(value), {}).get(name):
        return {name: read(value)}
    if default is not parameter.empty and not hasattr(value, name):
        return {}
    found = getattr(value, name)
    if name == "bias" and not isinstance(found, bool):
        found = found is not None
    return {} if found is None and default is None else {name: found}
