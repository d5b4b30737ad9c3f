"""Objects as plain data, so that a checkpoint holds no code."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from numbers import Integral, Real
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F

_HOUSES = (
    "lightning_mtl.adaptation.",
    "lightning_mtl.balancers.",
    "lightning_mtl.encoders.",
    "lightning_mtl.heads.",
    "lightning_mtl.inputs.",
    "lightning_mtl.metrics.",
    "torch.nn.modules.",
    "torchmetrics.",
)
# Of these, some load a network from a file or an address that the data name.
_LOADERS = ("torchmetrics.audio.", "torchmetrics.image.", "torchmetrics.multimodal.", "torchmetrics.text.")
_OWN_OBJECTS = (
    "lightning_mtl.adaptation.",
    "lightning_mtl.balancers.",
    "lightning_mtl.encoders.",
    "lightning_mtl.heads.",
    "lightning_mtl.inputs.",
)
_TRUSTED = ("lightning_mtl.adaptation.", "lightning_mtl.balancers.", "lightning_mtl.inputs.")
_MARKS = {"class", "function", "tensor", "own", "dict"}
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_METRIC_FLAGS = {  # what every metric takes beside its own arguments, and the default
    "compute_on_cpu": False,
    "dist_sync_on_step": False,
    "sync_on_compute": True,
    "compute_with_cache": True,
}
# Where an argument is kept, if not in an attribute of its name.
_ELSEWHERE: dict[type, dict[str, Callable[[Any], Any]]] = {
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


def describe(value: Any) -> Any:
    """Describe an object as plain data: None, numbers, texts, lists and dictionaries.

    Of modules it holds classes and arguments, not weights, and which parameters are frozen. An object of the library, of
    `torch.nn` or of torchmetrics is rebuilt once to see that nothing is lost; what cannot be rebuilt, and any other
    class, becomes {"own": its qualified name}. An object describes itself where its class has `description()`, its
    arguments by name; with the class method `from_description(arguments)` it also rebuilds itself.

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
        return {"dict": made} if _MARKS & made.keys() else made
    if type(value) is Tensor and not value.is_complex():
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if name := _function_name(value):
        return {"function": f"torch.nn.functional.{name}"}
    return _described(value)


def rebuild(data: Any) -> Any:
    """Make the object that `describe` described, with fresh weights, in training mode, on the default device.

    Nothing is imported and no code of the data runs: only classes of the library, `torch.nn` and torchmetrics are made.

    Args:
        data: What `describe` returned.

    Raises:
        ValueError: The data name another class or function, or one of the user's own.

    Example:
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
        return _instance(data)
    if "function" in data:
        return _function(data["function"])
    if "tensor" in data:
        return _tensor(data)
    return {key: rebuild(each) for key, each in data.get("dict", data).items()}


def own(data: Any, path: str = "") -> dict[str, str]:
    """Name the classes and functions in a description that are the user's own.

    Args:
        data: What `describe` returned.
        path: What stands before the paths that are returned.

    Returns:
        {path: qualified name}; a path is like those of a state dictionary: "trunk.1".

    Example:
        >>> own({"loss": {"own": "my_package.my_loss"}})
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
        found |= own(each, f"{path}.{key}" if path else str(key))
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's numbers too, which `weights_only` would refuse
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _described(value: Any) -> dict[str, Any]:
    kind = type(value)
    theirs = {"own": _name(value if inspect.isroutine(value) or isinstance(value, type) else kind)}
    try:
        if _class(_name(kind)) is not kind:
            return theirs
        data = {"class": _name(kind), "args": {key: describe(each) for key, each in _arguments(value).items()}}
    except (AttributeError, ValueError):  # another's class, or an argument that is kept nowhere
        return theirs
    if isinstance(value, nn.Module) and kind not in _CONTAINERS:
        data |= _frozen(value)
    # What inputs know and balancers keep comes with the data, or with the weights.
    trusted = kind.__module__.startswith(_TRUSTED)
    return data if own(data) or trusted or _faithful(value, data) else theirs


def _arguments(value: Any) -> dict[str, Any]:
    kind = type(value)
    if hasattr(kind, "description"):
        return dict(value.description())
    if kind in _CONTAINERS:
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
    if read := _ELSEWHERE.get(type(value), {}).get(name):
        return {name: read(value)}
    if default is not parameter.empty and not hasattr(value, name):
        return {}
    found = getattr(value, name)
    if name == "bias" and not isinstance(found, bool):
        found = found is not None
    return {} if found is None and default is None else {name: found}


def _frozen(module: nn.Module) -> dict[str, Any]:
    parameters = dict(module.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    return {"frozen": True if len(frozen) == len(parameters) else frozen} if frozen else {}


def _faithful(value: Any, data: dict[str, Any]) -> bool:
    metric = isinstance(value, nn.Module) and any(isinstance(each, torchmetrics.Metric) for each in value.modules())
    # "meta" takes neither memory nor time; what looks at its numbers while it is made needs real ones.
    for device in ("cpu",) if metric else ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the user saw them when the object was made
                return _alike(value, _instance(data))
        except Exception:  # a stock class that was changed by hand can fail in any way; then it is the user's own
            continue
    return False


def _alike(value: Any, made: Any) -> bool:
    if not isinstance(value, nn.Module):
        return bool(vars(value) == vars(made))
    if _shapes(value) != _shapes(made) or _spelt(value) != _spelt(made):
        return False
    pairs = list(zip(value.modules(), made.modules(), strict=True))
    if len(list(value.parameters())) != len(list(made.parameters())):  # weights that are tied by hand
        return False
    return all(_same_settings(*pair) for pair in pairs if _name(type(pair[0])).startswith(_HOUSES[-2:]))


def _shapes(module: nn.Module) -> dict[str, Any]:
    return {name: getattr(held, "shape", None) for name, held in module.state_dict().items()}


def _spelt(module: nn.Module) -> str:
    return repr(module).translate(str.maketrans("[]", "()"))  # [2, 2] is kept as a list and given as a tuple


def _same_settings(value: nn.Module, made: nn.Module) -> bool:
    outside = {"training", "update", "compute", *getattr(made, "_defaults", ())}  # not settings of a metric, but sums
    mine, theirs = ({**vars(each), **dict(each.named_buffers(recurse=False))} for each in (value, made))
    return all(
        name in mine and _same(mine[name], setting)
        for name, setting in theirs.items()
        if not name.startswith("_") and name not in outside
    )


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, Tensor):
        if not isinstance(mine, Tensor) or mine.shape != theirs.shape:
            return False
        return theirs.is_meta or torch.equal(mine.cpu().to(theirs.dtype), theirs)
    if isinstance(theirs, list | tuple):
        return isinstance(mine, list | tuple) and list(mine) == list(theirs)
    return bool(mine == theirs)


def _class(name: Any) -> type:
    room, _, last = str(name).rpartition(".")
    if room.startswith(_HOUSES) and not room.startswith(_LOADERS):
        found = getattr(sys.modules.get(room), last, None)
        if isinstance(found, type) and found.__module__ == room and _holdable(found):
            return found
    raise ValueError(
        f"A checkpoint may hold only classes of lightning_mtl, torch.nn and torchmetrics, got {name!r}. Load only files "
        "that you trust, or give the object itself."
    )


def _holdable(kind: type) -> bool:
    ours = kind.__module__.startswith(_OWN_OBJECTS) or hasattr(kind, "from_description")
    return issubclass(kind, nn.Module) or ours


def _instance(data: dict[str, Any]) -> Any:
    kind, args = _class(data["class"]), data.get("args")
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


def _freeze(module: nn.Module, names: Any) -> None:
    for name, parameter in module.named_parameters():
        if names is True or name in names:
            parameter.requires_grad_(False)


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


def _function_name(value: Any) -> str | None:
    """Name a function of torch.nn.functional; what that module only imports from elsewhere is none of its own."""
    if not inspect.isroutine(value) or value.__module__ not in ("torch.nn.functional", "torch._C._nn", "torch"):
        return None
    return next((name for name, each in vars(F).items() if each is value and not name.startswith("_")), None)


def _function(name: Any) -> Callable[..., Any]:
    room, _, last = str(name).rpartition(".")
    found: Any = getattr(F, last, None) if room == "torch.nn.functional" else None
    if _function_name(found) is not None:
        function: Callable[..., Any] = found
        return function
    raise ValueError(
        f"A checkpoint may hold only functions of torch.nn.functional, got {name!r}. Load only files that you trust, or "
        "give the function itself."
    )


def _tensor(data: dict[str, Any]) -> Tensor:
    dtype = getattr(torch, str(data.get("dtype")), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"`dtype` must be one of torch's, got {data.get('dtype')!r}. The checkpoint is damaged.")
    return torch.tensor(data["tensor"], dtype=dtype)
