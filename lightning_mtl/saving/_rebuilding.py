"""Objects made from their description."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from ._allowed import allowed_class, allowed_function


def rebuild(data: Any) -> Any:
    """Make the object that `describe` described, with fresh weights, in training mode, on the default device.

    Nothing is imported and no code of the data runs: only classes of the library, `torch.nn` and torchmetrics are made.

    Args:
        data: What `describe` returned.

    Raises:
        ValueError: The data name another class or function, or one of the user's own.

    Example:
        >>> from lightning_mtl.saving import describe
        >>> rebuild(describe(nn.Linear(3, 2)))
        Linear(in_features=3, out_features=2, bias=True)
    """
    if isinstance(data, list):
        return [rebuild(each) for each in data]
    if not isinstance(data, dict):
        return data
    if "own" in data:
        raise ValueError(
            f"A checkpoint holds no code of your own, so {data['own']} cannot be rebuilt from it. Give the object itself."
        )
    if "class" in data:
        return rebuild_object(data)
    if "function" in data:
        return allowed_function(data["function"])
    if "tensor" in data:
        return _tensor(data)
    return {key: rebuild(each) for key, each in data.get("dict", data).items()}


def rebuild_object(data: dict[str, Any]) -> Any:
    """Make an object from the name of its class and its arguments.

    Args:
        data: The description of the object: "class", "args", and "frozen" where parameters are.

    Raises:
        ValueError: The class is not one that a checkpoint may hold, or these are not its arguments.
    """
    kind, args = allowed_class(data["class"]), data.get("args")
    if not isinstance(args, dict):
        raise ValueError(f"`args` of {data['class']} must be a dictionary, got {args!r}. The checkpoint is damaged.")
    try:
        made = _made(kind, {key: rebuild(each) for key, each in args.items()})
        if isinstance(made, nn.Module) and (frozen := data.get("frozen")):
            _freeze(made, frozen)
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{data['class']} cannot be rebuilt from {list(args)}: {error}. The checkpoint is of another version, or "
            "damaged; give the object itself."
        ) from error
    return made


def _made(kind: Any, args: dict[str, Any]) -> Any:
    if kind is nn.Sequential:
        return nn.Sequential(OrderedDict(args))
    if kind is nn.ModuleList:
        return nn.ModuleList(args.values())
    if kind is nn.ModuleDict:
        return nn.ModuleDict(args)
    if hasattr(kind, "from_description"):
        return kind.from_description(args)
    if kind.__module__.startswith("torch.nn."):  # its sizes are tuples
        args = {key: _tuples(each) for key, each in args.items()}
    return kind(**args)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _freeze(module: nn.Module, names: Any) -> None:
    for name, parameter in module.named_parameters():
        if names is True or name in names:
            parameter.requires_grad_(False)


def _tensor(data: dict[str, Any]) -> Tensor:
    dtype = getattr(torch, str(data.get("dtype")), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"`dtype` must be one of torch's, got {data.get('dtype')!r}. The checkpoint is damaged.")
    return torch.tensor(data["tensor"], dtype=dtype)
