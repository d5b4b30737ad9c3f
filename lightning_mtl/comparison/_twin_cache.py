"""A folder that keeps the results of single-task twins."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import lightning as L

from .._distributed import of_first_rank
from ..data import MultiTaskDataModule
from ..modules import MultiTaskModule
from ._cost import Cost
from ._digest import UndescribedError
from ._runs import Judged
from ._twin_key import twin_key

FORM = 1
"""Raise it when what is kept changes."""


class Twin(NamedTuple):
    """How a twin did on its task, and what it took."""

    judged: Judged
    cost: Cost | None


class TwinCache:
    """Keeps the result of each twin in a small JSON file, under a key of everything that settles it.

    Args:
        folder: Where; it is made if need be.

    Raises:
        ValueError: It is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`cache` must be a folder, got {str(folder)!r}, which is a file. Name another.")
        self.read = 0
        """How many twins were read."""
        self._told = False
        self._splits: dict[int, str] = {}

    def key(self, module: MultiTaskModule, trainer: L.Trainer, data: MultiTaskDataModule, seed: int) -> str | None:
        """Give the key of a twin that is to be trained; None where one cannot be told, which is said once."""
        try:
            return twin_key(module, trainer, data, seed, self._splits)
        except (UndescribedError, RecursionError) as error:
            if not self._told:
                warnings.warn(f"Twins are trained and not kept in `cache`: {error}.", stacklevel=2)
            self._told = True
            return None

    def find(self, key: str | None) -> Twin | None:
        """Read the result that is kept under a key; on several processes, what the first one finds."""
        found: Twin | None = of_first_rank(None if key is None else self._found(self.folder / f"{key}.json"))
        self.read += found is not None
        return found

    def keep(self, key: str | None, twin: Twin) -> None:
        """Write a result; call it on one process."""
        if key is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        cost = None if twin.cost is None else asdict(twin.cost)
        made = self.folder / f"{key}.{os.getpid()}.part"
        made.write_text(json.dumps({"form": FORM, "judged": twin.judged._asdict(), "cost": cost}, indent=1))
        made.replace(self.folder / f"{key}.json")  # at once, so that nobody reads half of it

    def _found(self, path: Path) -> Twin | None:
        if not path.exists():
            return None
        try:
            told = json.loads(path.read_text())
            judged, cost = Judged(**told["judged"]), told["cost"]
            if told["form"] != FORM or not isinstance(judged.value, float):
                raise ValueError("another form")
            return Twin(judged, None if cost is None else Cost(**cost))
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} of `cache` holds no result and is written anew: {error!r}.", stacklevel=2)
            return None
