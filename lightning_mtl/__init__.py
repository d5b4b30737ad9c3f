"""lightning-mtl: multi-task learning for PyTorch Lightning."""

from . import _former_paths
from .data import MultiTaskDataModule, Source, split
from .encoders import (
    BagOfWords,
    Encoder,
    HardSharing,
    HuggingFace,
    HuggingFaceLevels,
    LevelledEncoder,
    Levels,
    Recurrent,
    StackedRecurrent,
    Tabular,
    Vocabulary,
)
from .files import Cells
from .heads import Arcs, Binary, Head, Multiclass, Multilabel, Regression, Tagging
from .hierarchical import HierarchicalModule
from .meta import EpisodeDataModule, MetaLearningModule
from .modules import MultiTaskModule
from .optim import FineTuning
from .task import Task

__all__ = [
    "Task",
    "Source",
    "Cells",
    "split",
    "MultiTaskModule",
    "HierarchicalModule",
    "MetaLearningModule",
    "MultiTaskDataModule",
    "EpisodeDataModule",
    "FineTuning",
    "Encoder",
    "HardSharing",
    "BagOfWords",
    "Recurrent",
    "HuggingFace",
    "Tabular",
    "LevelledEncoder",
    "StackedRecurrent",
    "Levels",
    "HuggingFaceLevels",
    "Vocabulary",
    "Head",
    "Binary",
    "Multiclass",
    "Multilabel",
    "Regression",
    "Tagging",
    "Arcs",
]

_former_paths.install()
