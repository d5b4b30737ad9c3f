"""Meta-learning: a network is trained so that a few examples are enough to learn a new task."""

from ._datamodule import EpisodeDataModule
from ._few_shot import EpisodeScores, FewShotComparison, score_episodes
from ._module import MetaLearningModule

__all__ = [
    "EpisodeDataModule",
    "FewShotComparison",
    "EpisodeScores",
    "MetaLearningModule",
    "score_episodes",
]
