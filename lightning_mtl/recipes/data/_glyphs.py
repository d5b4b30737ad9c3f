"""Letters of many scripts, for few-shot classification."""

from __future__ import annotations

import unicodedata

import datasets
import torch
from jaxtyping import UInt8
from torch import Generator, Tensor

from lightning_mtl._checks import require_number

from . import _files
from ._drawing import DRAWING_VERSION, distinct, drawings, varied

_SCRIPTS = {  # by the first words of Unicode names; of similar letters, the first in this order is kept
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
    induction", Science 2015), with fonts instead of handwriting. Each letter is drawn with all fonts of matplotlib (extra
    `recipes`) that have it; each image is rotated, sheared, resized, stretched, shifted and blurred a little. All letters have
    the same size, so a capital letter may look like its small letter.

    The fonts of matplotlib 3.11 have 1,747 letters of these scripts that are not composed of others. 981 are dropped because in
    some font they look like an earlier letter (of A in Latin, Greek and Cyrillic, the first is kept); 182 of them look like a
    letter of another split. There remain 375 letters for training, 77 for validation, and 314 for the test.

    Args:
        examples: Number of images of each letter.
        seed: Seed of the variations; the letters do not depend on it.

    Returns:
        For "train", "validation" and "test", rows of `image` (float32, [1, 28, 28], from 0 to 1 for ink), `character` (the
        Unicode name of the letter) and `script`. Drawing them takes about five seconds; then they are cached.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: `examples` is below 1.

    Example:
        >>> splits = glyphs(examples=2)
        >>> sorted(set(splits["validation"]["script"]))
        ['Georgian', 'Lao']
        >>> splits["test"][0]["character"]
        'HEBREW LETTER ALEF'
    """
    require_number("examples", examples, "Give the number of images of each letter.", at_least=1, whole=True)
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("These letters need matplotlib: pip install 'lightning-mtl[recipes]'") from error
    name = f"glyphs-{DRAWING_VERSION}-matplotlib-{matplotlib.__version__}-{examples}-{seed}"
    rows = _files.cached(name, lambda _: _draw_all(examples, seed))
    scripts = list(rows["script"])
    return {
        split: rows.select([row for row, script in enumerate(scripts) if script in names.values()])
        for split, names in _SCRIPTS.items()
    }


def _draw_all(examples: int, seed: int) -> datasets.Dataset:
    drawn = drawings(_NAMES)
    places = list(_NAMES)
    kept = distinct(drawn, sorted(drawn, key=lambda letter: (places.index(_first_word(letter)), letter)))
    generator = Generator().manual_seed(seed)
    images = [varied(_in_random_fonts(list(drawn[letter].values()), examples, generator), generator) for letter in kept]
    letters = [letter for letter in kept for _ in range(examples)]
    columns = {
        "image": torch.cat(images).numpy(),
        "character": [unicodedata.name(letter) for letter in letters],
        "script": [_NAMES[_first_word(letter)] for letter in letters],
    }
    text = datasets.Value("string")
    features = {"image": datasets.Array3D((1, 28, 28), "float32"), "character": text, "script": text}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _in_random_fonts(drawn: list[Tensor], examples: int, generator: Generator) -> UInt8[Tensor, "examples 56 56"]:
    """Select drawings in a random order of the fonts, each font equally often."""
    order = torch.randperm(len(drawn), generator=generator)
    return torch.stack(drawn)[order[torch.arange(examples) % len(drawn)]]


def _first_word(letter: str) -> str:
    return unicodedata.name(letter).split()[0]
