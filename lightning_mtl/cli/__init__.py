"""Command lines of recipes."""

from ._base import finish
from ._few_shot import FewShotCLI, Trained, learned
from ._multi_task import MultiTaskCLI

__all__ = [
    "FewShotCLI",
    "MultiTaskCLI",
    "Trained",
    "finish",
    "learned",
]
