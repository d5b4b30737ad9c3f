"""Stands in for torchvision and gym, which learn2learn imports at its start and needs only for images and games."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAMES = ("torchvision", "gym")


class _Thing:
    """What such a package holds: it can be called, subclassed, and asked for more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Thing,), {})


class _Finder(MetaPathFinder, Loader):
    """Finds packages that nobody else finds."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def install() -> list[MetaPathFinder]:
    """Put the stand-ins last, so that the real packages win; give what was put."""
    missing = any(importlib.util.find_spec(name) is None for name in NAMES)
    added: list[MetaPathFinder] = [_Finder()] if missing else []
    sys.meta_path.extend(added)
    return added


@contextmanager
def standing_in() -> Iterator[None]:
    """Let learn2learn be imported; afterwards nobody else, who may ask whether torchvision is there, finds a stand-in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its text has escapes that Python has come to warn about
        added = install()
        try:
            yield
        finally:
            for finder in added:
                sys.meta_path.remove(finder)
            for name in [name for name, module in sys.modules.items() if isinstance(module, _Package)]:
                del sys.modules[name]
