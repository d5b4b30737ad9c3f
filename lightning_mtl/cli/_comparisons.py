"""A comparison in the folder of a run."""

from __future__ import annotations

import json
from pathlib import Path

from ..comparison import Comparison
from ..writing import whole_file

_FILE = "comparison.json"


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write a comparison as CSV and JSON; both are whole at any time."""
    comparison.to_csv(folder / "comparison.csv")
    with whole_file(folder / _FILE) as part:
        part.write_text(json.dumps(comparison.record(), indent=1), encoding="utf-8")


def read_comparison(folder: Path) -> Comparison | None:
    """Read the comparison in a folder; None where no seed was done.

    Raises:
        ValueError: The file holds none.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        return Comparison.from_record(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`--resume` must be the folder of a comparison, got {path}, which holds none: {error!r}. Remove it."
        ) from error
