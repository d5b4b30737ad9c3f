"""Datasets in, batches of all sources out."""

from ._datamodule import MultiTaskDataModule
from ._examples import Examples
from ._heads import fit_heads, infer_heads
from ._loader import MultiTaskLoader
from ._source import Source
from ._splitting import split

__all__ = [
    "Examples",
    "MultiTaskDataModule",
    "MultiTaskLoader",
    "Source",
    "fit_heads",
    "infer_heads",
    "split",
]
