"""Learners and task sets of learn2learn in our modules, and our networks as its learners.

Only `to_learn2learn` imports learn2learn.
"""

from ._learners import from_learn2learn, to_learn2learn
from ._tasksets import episodes_of_taskset

__all__ = [
    "episodes_of_taskset",
    "from_learn2learn",
    "to_learn2learn",
]
