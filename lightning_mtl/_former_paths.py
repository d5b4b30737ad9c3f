"""Import paths of version 0.1, which go on working for one release."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NEW_PATHS = {
    "_recipe_cli": "cli",  # a recipe imported it, and recipes are copied
    "datamodule": "data",
    "episodes": "meta",
    "few_shot": "meta",
    "few_shot_cli": "cli",
    "fine_tuning": "optim",
    "module": "modules",
    "source": "data",
    "splitting": "data",
}


class FormerPath(Loader):
    """Makes a module with the names of the package that took its place."""

    def __init__(self, package: str) -> None:
        self.package = package

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module, and warn."""
        warnings.warn(
            f"{module.__name__} is now {self.package}, and goes with the next release. Import from there.",
            FutureWarning,
            stacklevel=2,
        )
        package = importlib.import_module(self.package)
        vars(module).update({name: getattr(package, name) for name in package.__all__})


class FormerPaths(MetaPathFinder):
    """Finds modules of version 0.1."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module by its former path, if it is one."""
        package, _, name = fullname.rpartition(".")
        if package != __package__ or name not in NEW_PATHS:
            return None
        return ModuleSpec(fullname, FormerPath(f"{package}.{NEW_PATHS[name]}"))


def install() -> None:
    """Let former paths be found, after all others."""
    sys.meta_path.append(FormerPaths())
