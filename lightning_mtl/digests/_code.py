"""The code of functions and classes, and what it refers to."""

from __future__ import annotations

import inspect
import sys
import sysconfig
from functools import cache
from importlib.metadata import packages_distributions, version
from types import CodeType, FunctionType, ModuleType
from typing import Any

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Where installed packages lie, which are known by their names."""


def package_of(value: Any) -> str:
    """Return the name of the package in which a function or class is defined."""
    return str(value.__module__ or "").split(".")[0]


@cache
def version_of(package: str) -> str | None:
    """Return the version of an installed package, which stands for its code; of Python's own modules, that of Python; None where it has none.

    Example:
        >>> import torch
        >>> version_of("torch") == torch.__version__
        True
    """
    if package in sys.stdlib_module_names:
        return sys.version
    said = getattr(sys.modules.get(package), "__version__", None)
    if said is not None:
        return str(said)
    names = packages_distributions().get(package)
    return ", ".join(f"{name} {version(name)}" for name in sorted({*names})) if names else None


def is_own(value: Any) -> bool:
    """Return whether a function or class is code of the user's own, which may be edited: it is not of an installed package."""
    file = getattr(sys.modules.get(value.__module__ or ""), "__file__", None) or ""
    return not file.startswith(_INSTALLED) and package_of(value) not in sys.stdlib_module_names


def source_of(kind: type) -> str:
    """Return the source text of a class, or the code of its methods where there is none."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        methods = {name: of for name, of in vars(kind).items() if isinstance(of, FunctionType)}
        return "".join(f"{name} {of.__code__.co_code.hex()} {of.__code__.co_names}" for name, of in methods.items())


def globals_of_methods(kind: type) -> dict[str, Any]:
    """Return the global values that the methods of a class refer to; of modules of the user's own, the functions and values."""
    methods = [getattr(of, "__func__", getattr(of, "fget", of)) for of in vars(kind).values()]
    found: dict[str, Any] = {}
    for method in methods:
        if isinstance(method, FunctionType):
            found |= globals_of(method)
            names = _names(method.__code__)
            for module in (method.__globals__.get(name) for name in names):
                if isinstance(module, ModuleType) and _is_own_module(module):
                    found |= {f"{module.__name__}.{name}": vars(module)[name] for name in names if name in vars(module)}
    return found


def _is_own_module(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return bool(file) and not file.startswith(_INSTALLED)


def cell_content(cell: Any) -> Any:
    """Return the value of a variable of an enclosing function; None where it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def globals_of(function: FunctionType) -> dict[str, Any]:
    """Return the global values that a function refers to, without modules."""
    found = {name: function.__globals__.get(name) for name in _names(function.__code__)}
    return {name: of for name, of in found.items() if of is not None and not isinstance(of, ModuleType)}


def _names(code: CodeType) -> list[str]:
    inner = [name for of in code.co_consts if isinstance(of, CodeType) for name in _names(of)]
    return list(dict.fromkeys([*code.co_names, *inner]))
