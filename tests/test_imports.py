"""Imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "lightning_mtl"
MAY_IMPORT = {  # from our own house
    "heads": set(),
    "encoders": set(),
    "metrics": set(),
    "samplers": set(),
    "balancers": set(),
    "adaptation": set(),
    "families": set(),
    "_table": set(),
    "_plain": set(),
    "_planned": {"samplers"},
    "_remembering": set(),
    "callbacks": {
        "_answers",
        "_checks",
        "_distributed",
        "_gradients",
        "_history",
        "_plain",
        "_planned",
        "_random_state",
        "_remembering",
        "_table",
        "balancers",
        "inputs",
        "metrics",
        "samplers",
    },
    "_settling": {"_examples", "_inference", "_inspection", "inputs", "source", "task"},
    "files": {"_sentences"},
    "_sentences": set(),
    "_layers": set(),
    "_checks": set(),
    "fine_tuning": {"_checks", "_layers"},
    "_distributed": set(),
    "_description": set(),
    "_random_state": set(),
    "_history": {"_distributed"},
    "_rows": {"files", "samplers"},
    "splitting": {"_rows", "files"},
    "inputs": {"encoders"},
    "_labels": {"heads", "inputs"},
    "task": {"_labels", "heads", "inputs", "metrics"},
    "_metrics": {"task"},
    "_routing": {"inputs", "task"},
    "_examples": {"inputs"},
    "source": {"_examples", "_rows", "encoders", "inputs", "samplers"},
    "_inference": {"heads", "inputs", "task"},
    "_inspection": {"_examples", "_table", "heads", "inputs", "samplers", "task"},
    "_loader": {"_distributed", "_examples", "samplers", "task"},
    "datamodule": {
        "_distributed",
        "_examples",
        "_inspection",
        "_loader",
        "_settling",
        "callbacks",
        "encoders",
        "inputs",
        "samplers",
        "source",
        "task",
    },
    "_answers": {"heads", "inputs"},
    "_exporting": {"_climb", "_hierarchy", "encoders", "heads", "inputs", "task"},
    "_model_card": {"encoders", "task"},
    "_saving": {"_description", "encoders", "heads", "inputs", "task"},
    "_persistence": {"_model_card", "_saving", "balancers", "encoders", "inputs", "task"},
    "_gradients": {"encoders"},
    "_linear": set(),
    "_exact": {"_distributed", "_gradients", "_linear"},
    "_balancing": {"_distributed", "_exact", "_gradients", "balancers"},
    "_step": set(),
    "_feeds": {"heads"},
    "_hierarchy": {"_checks", "_feeds", "encoders", "heads", "task"},
    "_climb": {"_feeds", "_hierarchy", "encoders", "heads"},
    "_level_cuts": {"_climb", "_gradients", "_hierarchy"},
    "_level_map": {"_answers", "_hierarchy", "_table", "encoders"},
    "_placing": {"_hierarchy", "encoders"},
    "hierarchical": {
        "_balancing",
        "_learner",
        "_climb",
        "_distributed",
        "_exporting",
        "_hierarchy",
        "_level_cuts",
        "_level_map",
        "_placing",
        "_routing",
        "_step",
        "balancers",
        "encoders",
        "inputs",
        "module",
        "task",
    },
    "_learner": {"heads", "task"},
    "_adapt": {"_answers", "_checks", "_episodes", "_settling", "adaptation", "inputs", "module", "source", "task"},
    "few_shot": {"_interval", "_table", "episodes", "meta"},
    "few_shot_cli": {"_judging", "_recipe_cli", "_saving", "episodes", "few_shot", "meta"},
    "_recipe_cli": {"module", "samplers"},
    "_episodes": {"adaptation", "heads", "inputs", "task"},
    "_episode_loader": {"_examples", "families", "samplers", "task"},
    "episodes": {
        "_checks",
        "_episode_loader",
        "_table",
        "encoders",
        "families",
        "heads",
        "inputs",
        "samplers",
        "source",
        "task",
    },
    "meta": {
        "_answers",
        "_balancing",
        "_checks",
        "_distributed",
        "_episodes",
        "_exporting",
        "_routing",
        "_step",
        "adaptation",
        "balancers",
        "encoders",
        "module",
        "task",
    },
    "_tasksets": set(),
    "learn2learn": {"_tasksets", "adaptation", "encoders", "heads", "meta", "task"},
    "_evaluated": {"_answers", "_distributed", "_metrics", "_persistence", "_random_state", "_routing", "_step"},
    "_module": {
        "_balancing",
        "_distributed",
        "_evaluated",
        "_gradients",
        "_history",
        "_metrics",
        "_step",
        "_random_state",
        "_routing",
        "balancers",
        "encoders",
        "fine_tuning",
        "inputs",
        "task",
    },
    "module": {
        "_adapt",
        "_answers",
        "_learner",
        "adaptation",
        "_balancing",
        "_distributed",
        "_exporting",
        "_module",
        "_routing",
        "_step",
        "balancers",
        "encoders",
        "heads",
        "inputs",
        "task",
    },
    "_cost": {"_table"},
    "_meter": {"_cost"},
    "_judging": {"_cost", "_meter", "datamodule", "module"},
    "_interval": {"_plain"},
    "_task_comparison": {"_interval", "_plain"},
    "_compared_plot": {"_task_comparison"},
    "_compared": {"_compared_plot", "_cost", "_interval", "_table", "_task_comparison"},
    "_digest": set(),
    "_twin_key": {"_digest", "_random_state", "datamodule", "fine_tuning", "module", "source"},
    "_twin_cache": {"_cost", "_digest", "_distributed", "_judging", "_twin_key", "datamodule", "module"},
    "_two_stage": {"_distributed", "module"},
    "_twins": {
        "_compared",
        "_cost",
        "_judging",
        "_task_comparison",
        "_twin_cache",
        "_two_stage",
        "datamodule",
        "module",
    },
    "comparison": {
        "_compared",
        "_interval",
        "_judging",
        "_task_comparison",
        "_twin_cache",
        "_twins",
        "_two_stage",
        "datamodule",
        "module",
    },
    "arms": {"_compared", "_cost", "_judging", "_task_comparison", "datamodule", "module"},
    "placement": {"_interval", "_judging", "_table", "datamodule", "hierarchical"},
    "weight_search": {"_judging", "_table", "balancers", "datamodule", "module"},
    "cli": {
        "_balancing",
        "_recipe_cli",
        "_task_comparison",
        "arms",
        "balancers",
        "comparison",
        "datamodule",
        "module",
        "placement",
        "report",
        "weight_search",
    },
    "sweep": set(),
    "reporting": {"_interval", "_plain", "comparison", "metrics"},
    "_run_facts": {"_level_map", "_module", "datamodule", "hierarchical", "samplers"},
    "report": {"_module", "_plain", "_planned", "_remembering", "_run_facts", "reporting"},
}
TORCH_ONLY = {"adaptation", "families", "heads", "encoders", "balancers", "samplers", "metrics"}
FREE = {"__init__", "recipes"}


def imports(path: Path) -> set[str]:
    """Name what a file imports: rooms of ours as "lightning_mtl.room", packages by their first name."""
    found: set[str] = set()
    depth = len(path.relative_to(HOUSE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {f"lightning_mtl.{node.module or alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(HOUSE.rglob("*.py")), ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    if room in FREE:
        return
    names = imports(path)
    ours = {name.split(".")[1] for name in names if name.startswith("lightning_mtl.")}
    assert ours <= MAY_IMPORT[room], f"{room} may import {MAY_IMPORT[room]}"
    if room in TORCH_ONLY:
        outside = {name.split(".")[0] for name in names} - {"lightning_mtl"}
        extra = {"transformers"} if path.name == "_hugging_face.py" else set()
        extra |= {"torchmetrics"} if room == "metrics" else set()
        assert not outside & {"lightning", "torchmetrics", "datasets", "transformers"} - extra
    if room != "_distributed":
        assert not any(name.startswith("torch.distributed") for name in names)
