"""The data of the recipes: fetched on first use, checked, and kept."""

from ._files import read_file
from ._rated_texts import rated_texts
from ._splits import split_by

__all__ = ["rated_texts", "read_file", "split_by"]
