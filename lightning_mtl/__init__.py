"""lightning-mtl: multi-task learning for PyTorch Lightning."""

from .datamodule import MultiTaskDataModule
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
from .episodes import EpisodeDataModule
from .fine_tuning import FineTuning
from .heads import Arcs, Binary, Head, Multiclass, Multilabel, Regression, Tagging
from .hierarchical import HierarchicalModule
from .meta import MetaLearningModule
from .module import MultiTaskModule
from .source import Source
from .splitting import split
from .task import Task

__all__ = [
    "Task",
    "Source",
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
