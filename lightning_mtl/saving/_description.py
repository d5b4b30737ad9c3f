"""Objects as plain data, so that a checkpoint holds no code."""

from __future__ import annotations

import inspect
from enum import Enum
from numbers import Integral, Real
from typing import Any

from torch import Tensor, nn

from ._allowed import allowed_class as _class
from ._allowed import function_name, qualified_name
from ._arguments import CONTAINERS, arguments_of
from ._fidelity import is_faithful

_RESERVED = {"class", "function", "tensor", "own", "dict"}
# What inputs know and balancers keep comes with the data, or with the weights: a fresh one is unlike them.
_NOT_COMPARED = ("lightning_mtl.adaptation.", "lightning_mtl.balancers.", "lightning_mtl.inputs.")


def describe(value: Any) -> Any:
    """Describe an object as plain data: None, numbers, strings, lists and dictionaries.

    Of a module the description holds classes and arguments, not weights, and which parameters are frozen. An object of the
    library, of `torch.nn` or of torchmetrics is rebuilt once, to check that nothing is lost. What cannot be rebuilt, and
    an object of any other class, becomes {"own": its qualified name}. An object describes itself where its class has
    `description()`, its arguments by name; with the class method `from_description(arguments)` it also rebuilds itself.

    Args:
        value: A module, metric or tokenizer, a function of `torch.nn.functional`, data, or lists and dictionaries of them.

    Returns:
        What `json.dumps`, and `torch.load` with `weights_only=True`, can hold.

    Example:
        >>> describe(nn.Sequential(nn.Tanh()))["args"]
        {'0': {'class': 'torch.nn.modules.activation.Tanh', 'args': {}}}
    """
    if isinstance(value, Enum):
        return describe(value.value)
    if value is None or isinstance(value, bool | str | Real):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [describe(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        made = {str(key): describe(each) for key, each in value.items()}
        return {"dict": made} if _RESERVED & made.keys() else made
    if type(value) is Tensor and not value.is_complex():
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if name := function_name(value):
        return {"function": f"torch.nn.functional.{name}"}
    return _object(value)


def custom_objects(data: Any, path: str = "") -> dict[str, str]:
    """Return the classes and functions in a description that are the user's own.

    Args:
        data: What `describe` returned.
        path: A prefix of the paths that are returned.

    Returns:
        {path: qualified name}; a path is like those of a state dictionary: "trunk.1".

    Example:
        >>> custom_objects({"loss": {"own": "my_package.my_loss"}})
        {'loss': 'my_package.my_loss'}
    """
    if isinstance(data, list):
        inside = dict(enumerate(data))
    elif not isinstance(data, dict) or "tensor" in data or "function" in data:
        return {}
    elif "own" in data:
        return {path: data["own"]}
    else:
        inside = data.get("args", {}) if "class" in data else data.get("dict", data)
    found: dict[str, str] = {}
    for key, each in inside.items():
        found |= custom_objects(each, f"{path}.{key}" if path else str(key))
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's numbers too, which `weights_only` would refuse
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def _object(value: Any) -> dict[str, Any]:
    kind = type(value)
    custom = {"own": qualified_name(value if inspect.isroutine(value) or isinstance(value, type) else kind)}
    try:
        if _class(qualified_name(kind)) is not kind:
            return custom
        args = {key: describe(each) for key, each in arguments_of(value).items()}
    except (AttributeError, ValueError):  # another's class, or an argument that is kept nowhere
        return custom
    data = {"class": qualified_name(kind), "args": args}
    if isinstance(value, nn.Module) and kind not in CONTAINERS:
        data |= _frozen(value)
    if custom_objects(data) or kind.__module__.startswith(_NOT_COMPARED) or is_faithful(value, data):
        return data
    return custom


def _frozen(module: nn.Module) -> dict[str, Any]:
    parameters = dict(module.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    return {"frozen": True if len(frozen) == len(parameters) else frozen} if frozen else {}
