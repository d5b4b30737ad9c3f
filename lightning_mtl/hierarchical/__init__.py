"""Hierarchical multi-task learning: each task is supervised at its own level of the encoder."""

from ._hierarchy import Hierarchy
from ._level_map import level_work
from ._module import HierarchicalModule

__all__ = [
    "HierarchicalModule",
    "Hierarchy",
    "level_work",
]
