"""Imports between packages point one way, and pass through the windows of the packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import ROOT

HOUSE = ROOT / "lightning_mtl"
FOUNDATIONS = {"_checks", "_distributed", "_lightning", "_plain", "_random_state", "_table"}  # any package may use them
NO_PACKAGE: set[str] = set()
MAY_IMPORT = {  # of our own packages; a package comes after all that it imports
    "adaptation": NO_PACKAGE,
    "balancers": NO_PACKAGE,
    "encoders": NO_PACKAGE,
    "families": NO_PACKAGE,
    "files": NO_PACKAGE,
    "heads": NO_PACKAGE,
    "metrics": NO_PACKAGE,
    "samplers": NO_PACKAGE,
    "inputs": {"encoders"},
    "gradients": {"balancers", "encoders"},
    "optim": NO_PACKAGE,
    "task": {"gradients", "heads", "inputs", "metrics"},
    "callbacks": {"balancers", "gradients", "inputs", "metrics", "samplers", "task"},
    "data": {"callbacks", "encoders", "files", "heads", "inputs", "samplers", "task"},
    "saving": {"encoders", "heads", "inputs", "task"},
    "modules": {
        *("adaptation", "balancers", "encoders", "heads", "inputs"),
        *("callbacks", "data", "gradients", "optim", "saving", "task"),
    },
    "hierarchical": {
        *("balancers", "encoders", "gradients", "heads", "inputs"),
        *("callbacks", "modules", "saving", "task"),
    },
    "comparison": {"data", "modules", "optim"},
    "meta": {
        *("adaptation", "balancers", "encoders", "families", "heads", "inputs", "samplers"),
        *("callbacks", "comparison", "data", "gradients", "modules", "task"),
    },
    "learn2learn": {"adaptation", "encoders", "heads", "meta", "task"},
    "arms": {"comparison", "data", "modules"},
    "placement": {"comparison", "data", "hierarchical"},
    "weight_search": {"balancers", "comparison", "data", "modules"},
    "report": {"callbacks", "comparison", "data", "hierarchical", "metrics", "modules", "samplers"},
    "sweep": NO_PACKAGE,
    "cli": {
        *("balancers", "samplers", "comparison", "data", "gradients", "meta", "modules", "saving"),
        *("arms", "placement", "report", "weight_search"),
    },
}
OF_FOUNDATIONS = {"_distributed": NO_PACKAGE, "_lightning": {"_distributed"}}
TORCH_ONLY = {"adaptation", "balancers", "encoders", "families", "heads", "metrics", "samplers"}
FRAMEWORKS = {"lightning", "torchmetrics", "datasets", "transformers"}
EXTRA = {"encoders/_hugging_face.py": {"transformers"}}
FREE = {"__init__", "_former_paths", "recipes"}
FILES = sorted(HOUSE.rglob("*.py"))


def place_of(path: Path) -> list[str]:
    """Name a file's packages and itself, below the library."""
    return list(path.relative_to(HOUSE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Name what a file imports, in full; a name imported from a package of ours stands as its module where it is one."""
    found: set[str] = set()
    here = ["lightning_mtl", *place_of(path)]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" if is_file(module, alias.name) else module for alias in node.names}
    return found


def is_file(module: str, name: str) -> bool:
    folder = ROOT / module.replace(".", "/")
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def rooms(path: Path) -> set[str]:
    """Name the packages and files right below the library that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("lightning_mtl.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_file_imports_only_what_its_package_may(path: Path) -> None:
    room = place_of(path)[0]
    names = imports(path)
    if room not in FREE:
        may = OF_FOUNDATIONS.get(room, NO_PACKAGE) if room in FOUNDATIONS else MAY_IMPORT[room] | FOUNDATIONS | {room}
        assert rooms(path) <= may, f"{room} may import {sorted(may)}"
    if room in TORCH_ONLY:
        outside = {name.split(".")[0] for name in names} & FRAMEWORKS
        assert outside <= EXTRA.get(f"{room}/{path.name}", {"torchmetrics"} if room == "metrics" else set())
    if room != "_distributed":
        assert not any(name.startswith("torch.distributed") for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_file_enters_other_packages_by_their_windows(path: Path) -> None:
    own = place_of(path)[0]
    ours = [name.split(".") for name in imports(path) if name.startswith("lightning_mtl.")]
    assert not [name for name in ours if name[1] != own and len(name) > 2 and name[2].startswith("_")]


def test_packages_form_no_circle() -> None:
    """Each package comes after all that it imports."""
    before: set[str] = set()
    for package, imported in MAY_IMPORT.items():
        assert imported <= before, package
        before.add(package)


def test_the_table_has_a_row_for_each_package_and_none_too_many() -> None:
    rows = {place_of(path)[0] for path in FILES} - FREE - FOUNDATIONS
    assert rows == set(MAY_IMPORT)
    used: dict[str, set[str]] = {row: set() for row in MAY_IMPORT}
    for path in FILES:
        if (room := place_of(path)[0]) in used:
            used[room] |= rooms(path) & set(MAY_IMPORT) - {room}
    assert used == MAY_IMPORT


def test_the_root_stays_small() -> None:
    assert len(list(HOUSE.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_imports_private_modules_of_its_own_package_only(path: Path) -> None:
    own = path.relative_to(ROOT / "tests").parts[0]
    names = [name.split(".") for name in imports_outside(path) if name.startswith("lightning_mtl.")]
    private = [name for name in names if any(part.startswith("_") for part in name[2:]) and name[1] != own]
    assert not private


def imports_outside(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
