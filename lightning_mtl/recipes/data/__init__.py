"""The data of the recipes: downloaded or drawn on first use, checked, and kept; and the choice of feature columns."""

from ._feature_columns import feature_columns
from ._glyphs import glyphs
from ._named_tweets import named_tweets
from ._own_columns import refuse_missing, with_values
from ._petrogold import petrogold
from ._rated_texts import rated_texts
from ._sentences import split_sentences, spread
from ._star import star
from ._tumours import tumours

__all__ = [
    "rated_texts",
    "named_tweets",
    "petrogold",
    "star",
    "tumours",
    "glyphs",
    "feature_columns",
    "refuse_missing",
    "with_values",
    "split_sentences",
    "spread",
]
