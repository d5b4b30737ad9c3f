"""The level of each parameter of a hierarchy."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ..encoders import LevelledEncoder
from ._hierarchy import Hierarchy


def fed_levels(hierarchy: Hierarchy, encoder: LevelledEncoder) -> list[tuple[nn.Module, list[nn.Parameter]]]:
    """Return the module and all parameters of each level, with those of its feeds, and of mixes whose highest level it is."""
    parts = encoder.levelled()
    for level, feeding in sorted(hierarchy.fed.items()):
        names = [hierarchy.names[task] for task in feeding]
        for fed in (hierarchy.joins[str(level)], *(hierarchy.embeddings[name] for name in names)):
            parts[level][1].extend(fed.parameters())
    for name, mix in hierarchy.mixes.items():
        parts[hierarchy.top[hierarchy.names.index(name)]][1].extend(mix.parameters())
    return parts


def trunk_levels(hierarchy: Hierarchy, encoder: LevelledEncoder) -> dict[nn.Parameter, int]:
    """Return the level of each parameter of the encoder, and of the layers through which a level is fed."""
    found: dict[nn.Parameter, int] = {}
    for level in range(len(encoder.levels) + 1):
        _put(found, encoder.parameters_of(level), level)
    for fed, join in hierarchy.joins.items():
        _put(found, join.parameters(), int(fed))
    return found


def task_levels(hierarchy: Hierarchy, parts: Iterable[nn.ModuleDict]) -> dict[nn.Parameter, int]:
    """Return the level of each parameter that is a task's own: of its head and loss, its labels' embeddings, its mix of levels.

    Args:
        hierarchy: The levels of the tasks.
        parts: Heads and losses, by the names of tasks.
    """
    found: dict[nn.Parameter, int] = {}
    for part in (*parts, hierarchy.embeddings, hierarchy.mixes):
        for name, own in part.items():
            _put(found, own.parameters(), hierarchy.top[hierarchy.names.index(name)])
    return found


def _put(found: dict[nn.Parameter, int], parameters: Iterable[nn.Parameter], level: int) -> None:
    for p in parameters:
        found.setdefault(p, level)
