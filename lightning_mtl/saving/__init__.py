"""Checkpoints and folders that hold a model as plain data."""

from ._description import custom_objects, describe
from ._files import read_model
from ._finite import refuse_spoiled, unusual_tensors
from ._format import KEY
from ._loading import (
    kind_of,
    load_checkpoint,
    load_folder,
    resume_from,
    without_lost_balancer,
)
from ._rebuilding import rebuild
from ._saving import description_of, save_pretrained
from ._warm_start import warm_start
from ._whole_checkpoints import write_whole_checkpoints

__all__ = [
    "KEY",
    "custom_objects",
    "describe",
    "description_of",
    "kind_of",
    "load_checkpoint",
    "load_folder",
    "read_model",
    "rebuild",
    "refuse_spoiled",
    "resume_from",
    "save_pretrained",
    "unusual_tensors",
    "warm_start",
    "without_lost_balancer",
    "write_whole_checkpoints",
]
