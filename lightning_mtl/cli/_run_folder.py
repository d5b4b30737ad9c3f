"""The folder of a run: a new one, the same on all of its ranks."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import lightning as L

from .._distributed import is_connected, of_first_rank
from .._lightning import connect_ranks

_RUN = "LIGHTNING_MTL_RUN"
"""The environment variable that tells the processes that Lightning starts the folder of this run."""


def run_folder(root: Path, trainer: L.Trainer) -> Path:
    """Make a folder that no other run has: run_0, run_1 and so on, or run_JOB, run_JOB_1 and so on in a job.

    Args:
        root: The folder of all runs.
        trainer: Knows the ranks of this run.
    """
    if trainer.world_size == 1:
        return _new_folder(root, None)
    job = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    job = None if job == "none" else job  # where torchrun was given no name
    connect_ranks(trainer.strategy)
    if is_connected():
        folder = Path(of_first_rank(str(_new_folder(root, job)) if trainer.is_global_zero else None))
    elif trainer.is_global_zero or _RUN not in os.environ:
        folder = _new_folder(root, job)
        os.environ[_RUN] = str(folder)  # for the processes that Lightning starts from this one
    else:
        folder = Path(os.environ[_RUN])
    folder.mkdir(parents=True, exist_ok=True)  # on another machine
    return folder


def _new_folder(root: Path, job: str | None) -> Path:
    """Make a folder under the first name that is free."""
    for number in count():
        name = f"run_{number}" if job is None else f"run_{job}_{number}" if number else f"run_{job}"
        folder = root / name
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")
