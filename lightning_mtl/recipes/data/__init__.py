"""The data of the recipes: fetched on first use, checked, and kept; and which of their columns can be features."""

from ._feature_columns import feature_columns
from ._rated_texts import rated_texts
from ._star import star
from ._tumours import tumours

__all__ = ["rated_texts", "star", "tumours", "feature_columns"]
