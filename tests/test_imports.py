"""Imports between packages point one way, and pass through the windows of the packages."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

HOUSE = ROOT / "lightning_mtl"
FOUNDATIONS = {
    "_checks",
    "_distributed",
    "_lightning",
    "_pictures",
    "_plain",
    "_random_state",
    "_table",
}  # any package may use them
NO_PACKAGE: set[str] = set()
MAY_IMPORT = {  # of our own packages; a package comes after all that it imports
    "adaptation": NO_PACKAGE,
    "balancers": NO_PACKAGE,
    "digests": NO_PACKAGE,
    "encoders": NO_PACKAGE,
    "families": NO_PACKAGE,
    "files": NO_PACKAGE,
    "heads": NO_PACKAGE,
    "metrics": NO_PACKAGE,
    "samplers": NO_PACKAGE,
    "writing": NO_PACKAGE,
    "inputs": {"encoders"},
    "gradients": {"balancers", "encoders"},
    "optim": NO_PACKAGE,
    "task": {"gradients", "heads", "inputs", "metrics"},
    "callbacks": {"balancers", "gradients", "inputs", "metrics", "samplers", "task", "writing"},
    "data": {"callbacks", "digests", "encoders", "files", "heads", "inputs", "samplers", "task"},
    "saving": {"encoders", "heads", "inputs", "task", "writing"},
    "modules": {
        *("adaptation", "balancers", "encoders", "heads", "inputs"),
        *("callbacks", "data", "gradients", "optim", "saving", "task"),
    },
    "hierarchical": {
        *("balancers", "encoders", "gradients", "heads", "inputs"),
        *("callbacks", "modules", "saving", "task"),
    },
    "comparison": {"callbacks", "data", "digests", "metrics", "modules", "optim", "task", "writing"},
    "meta": {
        *("adaptation", "balancers", "encoders", "families", "heads", "inputs", "samplers"),
        *("callbacks", "comparison", "data", "gradients", "modules", "task", "writing"),
    },
    "learn2learn": {"adaptation", "encoders", "heads", "meta", "task"},
    "arms": {"comparison", "data", "modules"},
    "placement": {"comparison", "data", "hierarchical", "metrics", "writing"},
    "weight_search": {"balancers", "comparison", "data", "modules", "writing"},
    "report": {"callbacks", "comparison", "data", "hierarchical", "metrics", "modules", "samplers", "writing"},
    "sweep": NO_PACKAGE,
    "cli": {
        *("balancers", "samplers", "comparison", "data", "files", "gradients", "meta", "modules", "saving"),
        *("arms", "placement", "report", "weight_search", "writing"),
    },
}
OF_FOUNDATIONS = {"_distributed": NO_PACKAGE, "_lightning": {"_distributed"}}
TORCH_ONLY = {"adaptation", "balancers", "encoders", "families", "heads", "metrics", "samplers"}
FRAMEWORKS = {"lightning", "torchmetrics", "datasets", "transformers"}
EXTRA = {"encoders/_hugging_face.py": {"transformers"}}
FREE = {"__init__", "_former_paths", "recipes"}
FILES = sorted(HOUSE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def place_of(path: Path) -> list[str]:
    """Return the names of a file's packages and its own, below the library."""
    return list(path.relative_to(HOUSE).with_suffix("").parts)


@cache
def imports(path: Path) -> frozenset[str]:
    """Return what a file imports, in full; a name imported from a package of ours stands as its module where it is one."""
    found: set[str] = set()
    here = ["lightning_mtl", *place_of(path)] if path.is_relative_to(HOUSE) else []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" if is_file(module, alias.name) else module for alias in node.names}
    return frozenset(found)


def is_file(module: str, name: str) -> bool:
    folder = ROOT / module.replace(".", "/")
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def ours(path: Path) -> list[list[str]]:
    """Return the modules of ours that a file imports, in their parts."""
    return [name.split(".") for name in imports(path) if name.startswith("lightning_mtl.")]


def rooms(path: Path) -> set[str]:
    """Return the packages and files right below the library that a file imports."""
    return {name[1] for name in ours(path)}


@pytest.mark.parametrize("room", sorted({place_of(path)[0] for path in FILES} - FREE))
def test_a_package_imports_only_what_it_may(room: str) -> None:
    may = OF_FOUNDATIONS.get(room, NO_PACKAGE) if room in FOUNDATIONS else MAY_IMPORT[room] | FOUNDATIONS | {room}
    for path in (path for path in FILES if place_of(path)[0] == room):
        assert rooms(path) <= may, f"{path} may import {sorted(may)}"
        if room in TORCH_ONLY:
            outside = {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
            assert outside <= EXTRA.get(f"{room}/{path.name}", {"torchmetrics"} if room == "metrics" else set()), path


def test_one_file_talks_to_other_ranks() -> None:
    talks = {path for path in FILES if any(name.startswith("torch.distributed") for name in imports(path))}
    assert talks == {HOUSE / "_distributed.py"}


def test_files_enter_other_packages_by_their_windows() -> None:
    for path in FILES:
        own = place_of(path)[0]
        assert not [name for name in ours(path) if name[1] != own and len(name) > 2 and name[2].startswith("_")], path


def test_tests_enter_other_packages_than_their_own_by_their_windows() -> None:
    for path in TESTS:
        own = path.relative_to(ROOT / "tests").parts[0]
        assert not [name for name in ours(path) if name[1] != own and any(of.startswith("_") for of in name[2:])], path


def test_packages_form_no_circle() -> None:
    """Each package comes after all that it imports."""
    before: set[str] = set()
    for package, imported in MAY_IMPORT.items():
        assert imported <= before, package
        before.add(package)


def test_the_table_has_a_row_for_each_package_and_none_too_many() -> None:
    used = {place_of(path)[0]: set[str]() for path in FILES if place_of(path)[0] not in FREE | FOUNDATIONS}
    for path in FILES:
        if (room := place_of(path)[0]) in used:
            used[room] |= rooms(path) & set(used) - {room}
    assert used == MAY_IMPORT


def test_files_and_classes_stay_small() -> None:
    """A newcomer finds a noun by its file: at most 12 in the root, 300 lines a file, 250 a class."""
    assert len(list(HOUSE.glob("*.py"))) <= 12
    for path in FILES:
        text = path.read_text()
        classes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))
        assert text.count("\n") <= 300, path
        assert all((node.end_lineno or 0) - node.lineno < 250 for node in classes), path
