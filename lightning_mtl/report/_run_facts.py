"""Facts of a run beside its losses: its tasks, the draws of its sources, the work of its levels."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..data import MultiTaskDataModule
from ..hierarchical import HierarchicalModule, level_work
from ..modules import TaskModule
from ..samplers import MultiTaskSampler


def tasks_of(trainer: L.Trainer, module: TaskModule) -> list[dict[str, Any]]:
    """Return the tasks with their names, main metric, its direction, and how many training rows have a label."""
    data = getattr(trainer, "datamodule", None)
    rows = data.labelled if isinstance(data, MultiTaskDataModule) else {}
    found = []
    for task in module.tasks:
        metric, sign = task.main_metric() or (None, None)
        found.append({"name": task.name, "metric": metric, "sign": sign, "rows": rows.get(task.name)})
    return found


def draws_of(sampler: MultiTaskSampler) -> dict[str, Any]:
    """Return the rows drawn of each source since training began."""
    sources = {
        name: {
            "rows": sampler.streams[name].rows,
            "drawn": sampler.drawn_rows(name),
            "passes": sampler.drawn_passes(name),
        }
        for name in sampler.names
    }
    return {"steps": sampler.delivered.step, "sources": sources}


def levels_of(module: TaskModule, batch: Any) -> list[dict[str, Any]]:
    """Return each level's share of the encoder's work for some rows, from the bottom up; nothing for a module without levels."""
    if not isinstance(module, HierarchicalModule) or module.sharded:  # a sharded level is run by all ranks or none
        return []
    encoder, hierarchy = module.encoder, module.hierarchy
    work = level_work(encoder, module.few(batch))
    return [
        {
            "name": "0 (what all stand on)" if level == 0 else _level_name(encoder, level),
            "share": share / (sum(work) or 1.0),
            "parameters": sum(parameter.numel() for parameter in encoder.parameters_of(level)),
            "tasks": [name for name, top in zip(hierarchy.names, hierarchy.top, strict=True) if top == level],
        }
        for level, share in enumerate(work)
    ]


def _level_name(encoder: Any, level: int) -> str:
    return f"{level} ({encoder.stages[level - 1]})" if encoder.stages else str(level)
