"""Whether a description loses nothing: the object made from it is like the one described."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn

from .._plain import without_masks
from ._allowed import FRAMEWORKS, qualified_name
from ._rebuilding import rebuild_object


def is_faithful(value: Any, data: dict[str, Any]) -> bool:
    """Return whether the object made from a description is like the one described. No random number is drawn.

    Args:
        value: The object.
        data: Its description.
    """
    metric = isinstance(value, nn.Module) and any(isinstance(each, torchmetrics.Metric) for each in value.modules())
    # "meta" takes neither memory nor time; an object that reads its numbers while it is made needs real ones.
    for device in ("cpu",) if metric else ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the user saw them when the object was made
                return _alike(value, rebuild_object(data))
        except Exception:  # a stock class that was changed by hand can fail in any way; then it is the user's own
            continue
    return False


def _alike(value: Any, made: Any) -> bool:
    if not isinstance(value, nn.Module):
        return bool(vars(value) == vars(made))
    if _shapes(value) != _shapes(made) or _printed(value) != _printed(made):
        return False
    pairs = list(zip(value.modules(), made.modules(), strict=True))
    if len(list(value.parameters())) != len(list(made.parameters())):  # weights that are tied by hand
        return False
    return all(_same_settings(*pair) for pair in pairs if qualified_name(type(pair[0])).startswith(FRAMEWORKS))


def _shapes(module: nn.Module) -> dict[str, Any]:
    return {name: getattr(held, "shape", None) for name, held in without_masks(module.state_dict()).items()}


def _printed(module: nn.Module) -> str:
    return repr(module).translate(str.maketrans("[]", "()"))  # [2, 2] is kept as a list and given as a tuple


def _same_settings(value: nn.Module, made: nn.Module) -> bool:
    # A metric has its sums among its attributes; they are no settings.
    ignored = {"training", "update", "compute", *getattr(made, "_defaults", ())}
    old, new = ({**vars(each), **dict(each.named_buffers(recurse=False))} for each in (value, made))
    return all(
        name in old and _equal(old[name], setting)
        for name, setting in new.items()
        if not name.startswith("_") and name not in ignored
    )


def _equal(old: Any, new: Any) -> bool:
    if isinstance(new, Tensor):
        if not isinstance(old, Tensor) or old.shape != new.shape:
            return False
        return new.is_meta or torch.equal(old.cpu().to(new.dtype), new)
    if isinstance(new, list | tuple):
        return isinstance(old, list | tuple) and list(old) == list(new)
    return bool(old == new)
