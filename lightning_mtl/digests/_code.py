"""The code of functions and classes, and what it refers to."""

from __future__ import annotations

import inspect
from types import CodeType, FunctionType, ModuleType
from typing import Any


def package_of(value: Any) -> str:
    """Return the name of the package in which a function or class is defined."""
    return str(value.__module__ or "").split(".")[0]


def source_of(kind: type) -> str:
    """Return the source text of a class, or the code of its methods where there is none."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        methods = {name: of for name, of in vars(kind).items() if isinstance(of, FunctionType)}
        return "".join(f"{name} {of.__code__.co_code.hex()} {of.__code__.co_names}" for name, of in methods.items())


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
