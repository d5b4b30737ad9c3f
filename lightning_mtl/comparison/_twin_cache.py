"""A folder that keeps the results of single-task twins."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import lightning as L

from .._distributed import of_first_rank
from ..data import MultiTaskDataModule
from ..digests import NoDigestError
from ..modules import MultiTaskModule
from ..writing import refuse_unwritable, whole_file
from ._cost import Cost
from ._runs import TaskScore
from ._twin_key import twin_key

FORM = 1
"""Version of the files; raise it when their content changes."""


class Twin(NamedTuple):
    """The result and the costs of a twin."""

    score: TaskScore
    cost: Cost | None


class TwinCache:
    """Keeps the result of each twin in a small JSON file, under a cache key of all that determines it.

    Args:
        folder: The folder; it is made if it does not exist.

    Raises:
        ValueError: It is a file, or cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`cache` must be a folder, got {str(folder)!r}, which is a file. Name another.")
        refuse_unwritable("cache", folder, "Name another, or leave it out.")
        self.read = 0
        """How many twins were read."""
        self._warned = False
        self._splits: dict[int, str] = {}

    def key(self, module: MultiTaskModule, trainer: L.Trainer, data: MultiTaskDataModule, seed: int) -> str | None:
        """Return the cache key of a twin before training; None, with one warning, where there can be none."""
        try:
            return twin_key(module, trainer, data, seed, self._splits)
        except (NoDigestError, RecursionError) as error:
            if not self._warned:
                warnings.warn(f"Twins are trained and not kept in `cache`: {error}.", stacklevel=2)
            self._warned = True
            return None

    def find(self, key: str | None) -> Twin | None:
        """Read the result that is kept under a key; with several processes, the first one reads it for all."""
        found: Twin | None = of_first_rank(None if key is None else self._read_file(self.folder / f"{key}.json"))
        self.read += found is not None
        return found

    def keep(self, key: str | None, twin: Twin) -> None:
        """Write a result; call it in one process only."""
        if key is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        cost = None if twin.cost is None else asdict(twin.cost)
        with whole_file(self.folder / f"{key}.json") as part:  # so that nobody reads half of it
            part.write_text(json.dumps({"form": FORM, "judged": twin.score._asdict(), "cost": cost}, indent=1))

    def _read_file(self, path: Path) -> Twin | None:
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text())
            score, cost = TaskScore(**content["judged"]), content["cost"]
            if content["form"] != FORM or not isinstance(score.value, float):
                raise ValueError("another form")
            return Twin(score, None if cost is None else Cost(**cost))
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} of `cache` holds no result and is written again: {error!r}.", stacklevel=2)
            return None
