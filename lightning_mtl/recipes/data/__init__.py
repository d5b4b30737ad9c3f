"""The data of the recipes: fetched on first use, checked, and kept."""

from ._rated_texts import rated_texts

__all__ = ["rated_texts"]
