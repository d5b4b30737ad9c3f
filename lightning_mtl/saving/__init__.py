"""Checkpoints and folders that hold a model as plain data."""

from ._description import custom_objects, describe
from ._files import read_model
from ._persistence import PersistentModule
from ._rebuilding import rebuild

__all__ = [
    "PersistentModule",
    "custom_objects",
    "describe",
    "read_model",
    "rebuild",
]
