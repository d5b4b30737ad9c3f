"""Checkpoints and folders that hold a model as plain data."""

from ._checkpoints import read_model
from ._description import describe, own, rebuild
from ._persistence import PersistentModule

__all__ = [
    "PersistentModule",
    "describe",
    "own",
    "read_model",
    "rebuild",
]
