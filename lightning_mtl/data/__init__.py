"""From datasets to batches of all sources."""

from ._arguments import refuse_bad_sources
from ._datamodule import MultiTaskDataModule
from ._doubts import refuse_doubtful
from ._examples import Examples
from ._heads import fit_heads, infer_heads
from ._loader import MultiTaskLoader
from ._source import Source
from ._source_inputs import fitted_tokenizer, inputs_of
from ._splitting import split
from ._step_loader import StepLoader
from ._trainer import build_layers, counter_of, ranks_of, seed_or_global

__all__ = [
    "Examples",
    "MultiTaskDataModule",
    "MultiTaskLoader",
    "Source",
    "StepLoader",
    "build_layers",
    "counter_of",
    "fit_heads",
    "fitted_tokenizer",
    "infer_heads",
    "inputs_of",
    "ranks_of",
    "refuse_bad_sources",
    "refuse_doubtful",
    "seed_or_global",
    "split",
]
