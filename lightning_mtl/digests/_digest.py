"""A hash of all that an object consists of, the same in every process."""

from __future__ import annotations

import functools
import hashlib
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

from ._code import cell_content, globals_of, globals_of_methods, is_own, package_of, source_of, version_of

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
_INTERNAL = {*vars(L.LightningModule())} - {"_parameters", "_buffers", "_modules", *_HOOKS}
"""Attributes that a module has for PyTorch and Lightning."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NAMED = (Enum, PurePath, torch.dtype, torch.device, np.dtype, range, slice, np.generic)


class NoDigestError(Exception):
    """An object for which it cannot be known whether it is the same the next time."""


def digest(value: Any, *, without: tuple[str, ...] = ()) -> str:
    """Return a hash of values, objects and modules with their weights, functions by their code, and classes by name and source.

    Code of installed packages is hashed by its name and the version of the package.

    Args:
        value: The object.
        without: Names of attributes of modules that are left out.

    Raises:
        NoDigestError: Something in it may differ the next time: a generator, an open file, a lock.

    Example:
        >>> digest({"rate": 0.1, "act": torch.relu}) == digest({"rate": 0.1, "act": torch.relu})
        True
        >>> digest(nn.Dropout(0.1)) == digest(nn.Dropout(0.2))
        False
    """
    hasher = _Hasher(without)
    hasher.add(value, "")
    return hasher.hash.hexdigest()


class _Hasher:
    """Adds one object after the other to a hash; an object that comes again is added as its number."""

    def __init__(self, without: tuple[str, ...]) -> None:
        self.hash = hashlib.sha256()
        self._without = without
        self._numbers: dict[int, int] = {}
        self._seen: list[Any] = []  # keeps objects alive, so that no id is used twice

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
            self._seen.append(value)
            self._new(value, where)

    def _new(self, value: Any, where: str) -> None:
        for kinds, add in _BY_KIND:
            if isinstance(value, kinds):
                add(self, value, where)
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
            raise NoDigestError(f"{where} is a tensor whose numbers cannot be read") from error

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
        self._put("function", value.__module__ or "", value.__qualname__, _version(value))
        if package_of(value) not in _TRUSTED:
            self._code(value.__code__, where)
            self._mapping(globals_of(value), where)
        self.add([value.__defaults__, value.__kwdefaults__], where)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self.add(cell_content(cell), f"{where}, which refers to {name}")

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
        self._put("builtin", str(value.__module__), value.__qualname__, _version(value))

    def _class(self, kind: type) -> None:
        self._put("class", _name(kind))
        for base in kind.__mro__:
            self._put(_version(base))
            if package_of(base) not in _TRUSTED:
                self._put(_name(base), source_of(base))
                if is_own(base) and id(base) not in self._numbers:
                    self._numbers[id(base)] = len(self._numbers)
                    self._seen.append(base)
                    self._references(base)

    def _references(self, kind: type) -> None:
        """Add what the methods of a class call, and the values that they read."""
        for name, value in globals_of_methods(kind).items():
            if isinstance(value, type | FunctionType) and not is_own(value):
                self._put(name, str(value.__module__), value.__qualname__, _version(value))
            else:
                self.add([name, value], f"{name}, which {_name(kind)} refers to")

    def _metric(self, value: torchmetrics.Metric, where: str) -> None:
        """Add the settings of a metric; its other attributes are functions and sums."""
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
            elif name not in _INTERNAL and name not in self._without:
                self.add([name, of], f"{where}.{name}".lstrip("."))

    def _described(self, value: Any, where: str) -> None:
        self._class(type(value))
        try:
            self._mapping(value.description(), where)
        except ValueError as error:
            raise NoDigestError(f"{where}: {error}") from error

    def _object(self, value: Any, where: str) -> None:
        """Add what a copy of the object would be made of."""
        if hasattr(value, "description"):
            self._described(value, where)
            return
        try:
            made = value.__reduce_ex__(2)
        except Exception as error:  # each class has its own errors
            raise NoDigestError(f"{where or 'it'} is a {_name(type(value))}, which cannot be copied") from error
        parts = made if isinstance(made, tuple) else (made,)
        self._each([list(part) if isinstance(part, Iterator) else part for part in parts], where)

    def _dataset(self, value: datasets.Dataset, where: str) -> None:
        """Add the rows: a fingerprint may be of a file's name and the second of its last change."""
        self._put("dataset", str(value.features))
        self.add([value._format_type, value._format_columns, value._format_kwargs], where)
        for table in (value.data, value._indices):
            for batch in () if table is None else table.table.to_batches():
                self.hash.update(batch.serialize())

    def _package(self, value: ModuleType, where: str) -> None:
        self._put("package", value.__name__, str(version_of(value.__name__.split(".")[0])))


_BY_KIND: list[tuple[Any, Callable[[_Hasher, Any, str], None]]] = [
    (Tensor, _Hasher._tensor),
    (np.ndarray, _Hasher._array),
    (datasets.Dataset, _Hasher._dataset),
    (torchmetrics.Metric, _Hasher._metric),
    (nn.Module, _Hasher._module),
    ((list, tuple, deque), _Hasher._each),
    ((set, frozenset), _Hasher._set),
    (Mapping, _Hasher._mapping),
    (FunctionType, _Hasher._function),
    (MethodType, _Hasher._method),
    (functools.partial, _Hasher._partial),
    (BuiltinFunctionType, _Hasher._builtin),
    (ModuleType, _Hasher._package),
]


def _version(value: Any) -> str:
    """Return the version that stands for the code of a function or class; an empty text where the code itself is hashed."""
    return "" if is_own(value) else str(version_of(package_of(value)))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
