"""Letters drawn with the fonts of matplotlib, and random variations as in handwriting."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font, Glyph

DRAWING_VERSION = 1
"""Part of the cache key. Raise it when a change of the code changes the images."""
_SIDE = 56  # twice the side of the images, so that edges stay smooth when a letter is rotated
_LETTER = 40  # the longer side of each letter, capital or small
_FONTS = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),  # the first has every letter
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmti10", "cmss10", "cmtt10"),
]
_SIMILAR = 0.92  # cosine of two drawings of 14 x 14 pixels
_ROTATION, _SHEAR, _ZOOM, _STRETCH, _SHIFT = pi / 9, 0.25, 0.2, 0.1, 0.2  # at most; shifts in halves of an image

Drawings = dict[str, dict[str, Tensor]]
"""{letter: {font: drawing}}."""


def drawings(first_words: Collection[str]) -> Drawings:
    """Draw the letters whose Unicode names begin with one of these words, with each font that has them.

    Composed letters (with accents, ligatures) are left out.
    """
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    found: Drawings = {}
    for name in _FONTS:
        font = FT2Font(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"))
        for letter in map(chr, sorted(font.get_charmap())):
            # Beyond ASCII, Computer Modern has other signs at the code points of letters.
            known = name == _FONTS[0] or (letter in found and (letter.isascii() or not name.startswith("cm")))
            if known and _is_simple(letter) and unicodedata.name(letter).split()[0] in first_words:
                found.setdefault(letter, {})[name] = _draw(font, letter)
    return found


def _is_simple(letter: str) -> bool:
    return unicodedata.category(letter) in ("Lu", "Ll", "Lo") and not unicodedata.decomposition(letter)


def _draw(font: FT2Font, letter: str) -> UInt8[Tensor, "56 56"]:
    """Draw a letter in the centre; all letters have the same size."""
    _, (left, low, right, high) = _load(font, letter, float(_SIDE))
    size = _SIDE * _LETTER / max(right - left, high - low)
    glyph, (left, low, right, high) = _load(font, letter, size)
    canvas = np.zeros((_SIDE, _SIDE), np.uint8)
    font.draw_glyph_to_bitmap(canvas, round((_SIDE - right - left) / 2), round((_SIDE - high + low) / 2), glyph)
    return torch.from_numpy(canvas)


def _load(font: FT2Font, letter: str, size: float) -> tuple[Glyph, list[float]]:
    """Return a letter in a size, and its bounding box in pixels."""
    from matplotlib.ft2font import LoadFlags

    font.set_size(size, 72)
    glyph = font.load_char(ord(letter), LoadFlags.NO_HINTING)
    return glyph, [edge / 64 for edge in glyph.bbox]


def varied(drawings: UInt8[Tensor, "n 56 56"], generator: Generator) -> Float[Tensor, "n 1 28 28"]:
    """Rotate, shear, resize, stretch, shift and blur each drawing a little, and halve its resolution."""
    ink = drawings[:, None].float() / 255
    rotation, shear, size, stretch, right, down = 2 * torch.rand(6, len(ink), generator=generator) - 1
    blur = torch.rand(len(ink), 1, 1, 1, generator=generator)
    cos, sin, zoom, aspect = (
        (_ROTATION * rotation).cos(),
        (_ROTATION * rotation).sin(),
        _ZOOM * size,
        _STRETCH * stretch,
    )
    wide, tall = (zoom + aspect).exp(), (zoom - aspect).exp()
    rows = [
        torch.stack([wide * cos, wide * (_SHEAR * shear * cos - sin), _SHIFT * right], 1),
        torch.stack([tall * sin, tall * (_SHEAR * shear * sin + cos), _SHIFT * down], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(ink.shape), align_corners=False)
    moved = F.grid_sample(ink, grid, align_corners=False)
    return F.avg_pool2d(moved.lerp(F.avg_pool2d(moved, 3, 1, 1), blur), 2).clamp(0, 1)


def distinct(drawings: Drawings, letters: Iterable[str]) -> list[str]:
    """Return the letters without those that look like an earlier letter, in any two fonts."""
    kept: list[str] = []
    seen = torch.zeros(0, (_SIDE // 4) ** 2)
    for letter in letters:
        ink = torch.stack(list(drawings[letter].values())).float()
        small = F.normalize(F.avg_pool2d(ink, 4).flatten(1))
        if not (small @ seen.T > _SIMILAR).any():
            kept.append(letter)
            seen = torch.cat([seen, small])
    return kept
