"""Meta-learning: tasks are learned so that a new one takes a few examples."""

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
