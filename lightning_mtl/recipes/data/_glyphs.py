"""Letters of many scripts, for few-shot classification."""

from __future__ import annotations

import unicodedata

import datasets
import torch
from jaxtyping import UInt8
from torch import Generator, Tensor

from lightning_mtl._checks import require

from . import _files
from ._drawing import FORM, distinct, drawings, varied

_SCRIPTS = {  # by the first words of Unicode names; of letters that look alike the first is kept
    "train": {
        "LATIN": "Latin",
        "GREEK": "Greek",
        "CYRILLIC": "Cyrillic",
        "COPTIC": "Coptic",
        "LISU": "Lisu",
        "OLD": "Old Italic",
        "ARMENIAN": "Armenian",
        "ARABIC": "Arabic",
    },
    "validation": {"GEORGIAN": "Georgian", "LAO": "Lao"},
    "test": {
        "HEBREW": "Hebrew",
        "NKO": "N'Ko",
        "TIFINAGH": "Tifinagh",
        "OGHAM": "Ogham",
        "CANADIAN": "Canadian syllabics",
    },
}
_NAMES = {word: name for scripts in _SCRIPTS.values() for word, name in scripts.items()}


def glyphs(examples: int = 20, *, seed: int = 0) -> dict[str, datasets.Dataset]:
    """Draw letters of 15 scripts, each a class, with whole scripts held out for validation and test.

    The setting is that of Lake, Salakhutdinov and Tenenbaum ("Human-level concept learning through probabilistic program
    induction", Science 2015), with fonts in place of hands. A letter is drawn in turn by all fonts of matplotlib (extra
    `recipes`) that have it, each time a little turned, leaning, resized, stretched, shifted and blurred. All letters are of
    one size, so a capital may look like its small letter.

    The fonts of matplotlib 3.11 have 1,747 letters of these scripts that are not composed of others. 981 are dropped, since some
    font draws them nearly as some font draws an earlier letter (of A in Latin, Greek and Cyrillic the first is kept); 182 of
    these look like a letter of another split. 375 letters are left to train on, 77 to validate, 314 to test.

    Args:
        examples: Images of each letter.
        seed: What the variations are drawn from; the letters are the same for all.

    Returns:
        For "train", "validation" and "test" rows of `image` (float32, [1, 28, 28], from 0 to 1 for ink), `character` (the
        letter's name in Unicode) and `script`. They are drawn in some five seconds, and kept.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: There are no examples.

    Example:
        >>> splits = glyphs(examples=2)
        >>> sorted(set(splits["validation"]["script"]))
        ['Georgian', 'Lao']
        >>> splits["test"][0]["character"]
        'HEBREW LETTER ALEF'
    """
    require(examples >= 1, "examples", "at least 1", examples, "Give the number of images of each letter.")
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("These letters need matplotlib: pip install 'lightning-mtl[recipes]'") from error
    folder = _files.cache() / f"glyphs-{FORM}-matplotlib-{matplotlib.__version__}-{examples}-{seed}"
    if not folder.exists():
        _files.keep(_made(examples, seed), folder)
    rows = datasets.load_from_disk(str(folder))
    scripts = list(rows["script"])
    return {
        split: rows.select([row for row, script in enumerate(scripts) if script in names.values()])
        for split, names in _SCRIPTS.items()
    }


def _made(examples: int, seed: int) -> datasets.Dataset:
    drawn = drawings(_NAMES)
    places = list(_NAMES)
    kept = distinct(drawn, sorted(drawn, key=lambda letter: (places.index(_word(letter)), letter)))
    generator = Generator().manual_seed(seed)
    images = [varied(_picked(list(drawn[letter].values()), examples, generator), generator) for letter in kept]
    letters = [letter for letter in kept for _ in range(examples)]
    columns = {
        "image": torch.cat(images).numpy(),
        "character": [unicodedata.name(letter) for letter in letters],
        "script": [_NAMES[_word(letter)] for letter in letters],
    }
    text = datasets.Value("string")
    features = {"image": datasets.Array3D((1, 28, 28), "float32"), "character": text, "script": text}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _picked(drawn: list[Tensor], examples: int, generator: Generator) -> UInt8[Tensor, "examples 56 56"]:
    """Take each font's drawing as often as any other's, in random order."""
    order = torch.randperm(len(drawn), generator=generator)
    return torch.stack(drawn)[order[torch.arange(examples) % len(drawn)]]


def _word(letter: str) -> str:
    return unicodedata.name(letter).split()[0]
