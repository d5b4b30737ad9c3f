"""One hash of all that an object is made of, the same in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import datasets
import lightning as L
import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn

_TRUSTED = {
    "builtins",
    "datasets",
    "lightning",
    "lightning_mtl",
    "numpy",
    "torch",
    "torchmetrics",
    "transformers",
}
"""Packages whose code is known by its version."""
_HOOKS = {"_forward_hooks", "_forward_pre_hooks"}
_BOOKS = {*vars(L.LightningModule())} - {"_parameters", "_buffers", "_modules", *_HOOKS}
"""What a module keeps for PyTorch and Lightning."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NAMED = (Enum, PurePath, torch.dtype, torch.device, np.dtype, range, slice, np.generic)


class UndescribedError(Exception):
    """Something of which cannot be told whether it is the same another time."""


def digest(value: Any, *, but: tuple[str, ...] = ()) -> str:
    """Hash values, objects and modules with their weights, functions by their code, and classes by their name and source text.

    Code of PyTorch, Lightning and this library is known by its name; add their versions.

    Args:
        value: What is to be hashed.
        but: Names of attributes that are left out.

    Raises:
        UndescribedError: There is something in it that may be another one the next time: a generator, an open file, a lock.

    Example:
        >>> digest({"rate": 0.1, "act": torch.relu}) == digest({"rate": 0.1, "act": torch.relu})
        True
        >>> digest(nn.Dropout(0.1)) == digest(nn.Dropout(0.2))
        False
    """
    walk = _Walk(but)
    walk.add(value, "")
    return walk.hash.hexdigest()


class _Walk:
    """Adds one object after the other to a hash; what comes again is told by its number."""

    def __init__(self, but: tuple[str, ...]) -> None:
        self.hash = hashlib.sha256()
        self._but = but
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []  # so that no address is used twice

    def add(self, value: Any, where: str) -> None:
        if isinstance(value, _PLAIN):
            self._put(type(value).__name__, repr(value))
        elif isinstance(value, _NAMED):
            self._put(_name(type(value)), str(value))
        elif isinstance(value, type):
            self._class(value)
        elif id(value) in self._numbers:
            self._put("again", str(self._numbers[id(value)]))
        else:
            self._numbers[id(value)] = len(self._numbers)
            self._held.append(value)
            self._new(value, where)

    def _new(self, value: Any, where: str) -> None:
        for kinds, tell in _TELL:
            if isinstance(value, kinds):
                tell(self, value, where)
                return
        self._object(value, where)

    def _put(self, *texts: str) -> None:
        for text in texts:
            self.hash.update(f"{len(text)}:{text}".encode())

    def _tensor(self, value: Tensor, where: str) -> None:
        self._put("tensor", str(value.dtype), str(tuple(value.shape)), str(value.requires_grad))
        try:
            self.hash.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise UndescribedError(f"{where} is a tensor without numbers that can be read") from error

    def _array(self, value: Any, where: str) -> None:
        if value.dtype.hasobject:
            self._each(value.tolist(), where)
        else:
            self._put("array", str(value.dtype), str(value.shape))
            self.hash.update(np.ascontiguousarray(value).tobytes())

    def _each(self, values: Any, where: str) -> None:
        self._put(type(values).__name__, str(len(values)))
        for i, value in enumerate(values):
            self.add(value, f"{where}[{i}]")

    def _set(self, values: Any, where: str) -> None:
        self._put("set", *sorted(digest(value) for value in values))

    def _mapping(self, values: Mapping[Any, Any], where: str) -> None:
        self._put("mapping", str(len(values)))
        for key, value in values.items():
            self.add(key, f"{where} key")
            self.add(value, f"{where}[{key!r}]")

    def _function(self, value: FunctionType, where: str) -> None:
        self._put("function", value.__module__ or "", value.__qualname__)
        if _package(value) not in _TRUSTED:
            self._code(value.__code__, where)
            self._mapping(_globals(value), where)
        self.add([value.__defaults__, value.__kwdefaults__], where)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self.add(_content(cell), f"{where}, which refers to {name}")

    def _code(self, code: CodeType, where: str) -> None:
        self._put("code", code.co_code.hex(), *code.co_names)
        for constant in code.co_consts:
            self._code(constant, where) if isinstance(constant, CodeType) else self.add(constant, where)

    def _method(self, value: MethodType, where: str) -> None:
        self.add(value.__func__, where)
        self.add(value.__self__, where)

    def _partial(self, value: functools.partial[Any], where: str) -> None:
        self._each([value.func, value.args, value.keywords], where)

    def _builtin(self, value: BuiltinFunctionType, where: str) -> None:
        self._put("builtin", str(value.__module__), value.__qualname__)

    def _class(self, kind: type) -> None:
        self._put("class", _name(kind))
        for base in kind.__mro__:
            if _package(base) not in _TRUSTED:
                self._put(_name(base), _source(base))

    def _metric(self, value: torchmetrics.Metric, where: str) -> None:
        """Tell its settings; what it holds beside them are functions and sums."""
        self._class(type(value))
        plain = {name: of for name, of in vars(value).items() if isinstance(of, (*_PLAIN, Tensor))}
        self._mapping(plain, where)

    def _module(self, value: nn.Module, where: str) -> None:
        if hasattr(value, "description"):
            self._described(value, where)
            self._mapping(value.state_dict(), where)
            return
        self._class(type(value))
        for name, of in vars(value).items():
            if name in _HOOKS:
                self._each(list(of.values()), f"a hook of {where or 'the module'}")
            elif name not in _BOOKS and name not in self._but:
                self.add([name, of], f"{where}.{name}".lstrip("."))

    def _described(self, value: Any, where: str) -> None:
        self._class(type(value))
        try:
            self._mapping(value.description(), where)
        except ValueError as error:
            raise UndescribedError(f"{where}: {error}") from error

    def _object(self, value: Any, where: str) -> None:
        """Tell what a copy of it would be made of."""
        if hasattr(value, "description"):
            self._described(value, where)
            return
        try:
            made = value.__reduce_ex__(2)
        except Exception as error:  # what cannot be copied refuses in its own way
            raise UndescribedError(f"{where or 'it'} is a {_name(type(value))}, which cannot be copied") from error
        parts = made if isinstance(made, tuple) else (made,)
        self._each([list(part) if isinstance(part, Iterator) else part for part in parts], where)

    def _dataset(self, value: datasets.Dataset, where: str) -> None:
        self._put("dataset", value._fingerprint)

    def _room(self, value: ModuleType, where: str) -> None:
        self._put("package", value.__name__)


_TELL: list[tuple[Any, Callable[[_Walk, Any, str], None]]] = [
    (Tensor, _Walk._tensor),
    (np.ndarray, _Walk._array),
    (datasets.Dataset, _Walk._dataset),
    (torchmetrics.Metric, _Walk._metric),
    (nn.Module, _Walk._module),
    ((list, tuple, deque), _Walk._each),
    ((set, frozenset), _Walk._set),
    (Mapping, _Walk._mapping),
    (FunctionType, _Walk._function),
    (MethodType, _Walk._method),
    (functools.partial, _Walk._partial),
    (BuiltinFunctionType, _Walk._builtin),
    (ModuleType, _Walk._room),
]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _package(of: Any) -> str:
    return str(of.__module__ or "").split(".")[0]


def _source(kind: type) -> str:
    """Read the text of a class, or else the code of its methods."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        methods = {name: of for name, of in vars(kind).items() if isinstance(of, FunctionType)}
        return "".join(f"{name} {of.__code__.co_code.hex()} {of.__code__.co_names}" for name, of in methods.items())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # what it refers to is made later
        return None


def _globals(function: FunctionType) -> dict[str, Any]:
    """Find what a function refers to by name, but for modules."""
    found = {name: function.__globals__.get(name) for name in _names(function.__code__)}
    return {name: of for name, of in found.items() if of is not None and not isinstance(of, ModuleType)}


def _names(code: CodeType) -> list[str]:
    inner = [name for of in code.co_consts if isinstance(of, CodeType) for name in _names(of)]
    return list(dict.fromkeys([*code.co_names, *inner]))
