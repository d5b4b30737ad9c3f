"""Which classes and functions a description may name: nothing else is ever made from a file."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn import functional as F

FRAMEWORKS = ("torch.nn.modules.", "torchmetrics.")
_PLAIN_OBJECTS = (  # here also classes that are no modules may be rebuilt
    "lightning_mtl.adaptation.",
    "lightning_mtl.balancers.",
    "lightning_mtl.encoders.",
    "lightning_mtl.heads.",
    "lightning_mtl.inputs.",
)
# Other rooms of torchmetrics have classes that load a network from a file or an address that the data name.
_METRICS = (
    *("aggregation", "classification", "clustering", "collections", "detection", "metric", "nominal"),
    *("regression", "retrieval", "segmentation", "shape", "wrappers"),
)
_ALLOWED = (*_PLAIN_OBJECTS, "lightning_mtl.metrics.", "torch.nn.modules.")


def allowed_class(name: Any) -> type:
    """Return the class of this qualified name. Nothing is imported for it.

    Args:
        name: What a description has as the name; it may be anything.

    Raises:
        ValueError: It is not the name of a class that a checkpoint may hold.
    """
    module, _, last = str(name).rpartition(".")
    if not last.startswith("_") and (module.startswith(_ALLOWED) or _is_metric(module)):
        found = getattr(sys.modules.get(module), last, None)
        if isinstance(found, type) and found.__module__ == module and _can_be_held(found):
            return found
    raise ValueError(
        f"A checkpoint may hold only classes of lightning_mtl, torch.nn and torchmetrics, got {name!r}. Load only files "
        "that you trust, or give the object itself."
    )


def allowed_function(name: Any) -> Callable[..., Any]:
    """Return the function of `torch.nn.functional` of this qualified name.

    Args:
        name: What a description has as the name; it may be anything.

    Raises:
        ValueError: It is not the name of one.
    """
    module, _, last = str(name).rpartition(".")
    found: Any = getattr(F, last, None) if module == "torch.nn.functional" else None
    if function_name(found) is not None:
        function: Callable[..., Any] = found
        return function
    raise ValueError(
        f"A checkpoint may hold only functions of torch.nn.functional, got {name!r}. Load only files that you trust, or "
        "give the function itself."
    )


def function_name(value: Any) -> str | None:
    """Return the name of a function of `torch.nn.functional`, without the names that this module only imports."""
    if not inspect.isroutine(value) or value.__module__ not in ("torch.nn.functional", "torch._C._nn", "torch"):
        return None
    return next((name for name, each in vars(F).items() if each is value and not name.startswith("_")), None)


def qualified_name(kind: Any) -> str:
    """Return the qualified name of a class or a function."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_metric(module: str) -> bool:
    package, _, room = module.partition(".")
    return package == "torchmetrics" and room.split(".")[0] in _METRICS


def _can_be_held(kind: type) -> bool:
    ours = kind.__module__.startswith(_PLAIN_OBJECTS) or hasattr(kind, "from_description")
    return issubclass(kind, nn.Module) or ours
