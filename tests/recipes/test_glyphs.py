"""Letters for few-shot classification: repeatable, each class in one split, and neither trivial nor impossible."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import datasets
import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from torch import Generator, Tensor

from lightning_mtl.inputs import Image
from lightning_mtl.recipes.data import glyphs
from lightning_mtl.recipes.data._drawing import distinct, varied
from tests.cases import over

EXAMPLES = 12
FONTS = [Path(matplotlib.get_data_path()) / f"fonts/ttf/{name}.ttf" for name in ("DejaVuSans", "DejaVuSans-Bold")]
NEAR = 0.96
"""The cosine from which `pictures` of two letters are near-equal; of the Latin and the Greek A it is 1."""
Splits = dict[str, datasets.Dataset]


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splits]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_MTL_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield glyphs(EXAMPLES)


def images(rows: datasets.Dataset) -> Float[Tensor, "rows 1 28 28"]:
    return torch.from_numpy(rows.with_format("numpy")[:]["image"])


def classes(rows: datasets.Dataset) -> list[str]:
    return list(dict.fromkeys(rows["character"]))


def by_class(rows: datasets.Dataset) -> Float[Tensor, "classes examples pixels"]:
    return images(rows).view(len(classes(rows)), -1, 28 * 28)


def pictures(letters: list[str], font: Path) -> Float[Tensor, "letters pixels"]:
    """Draw letters with Pillow, each cut out and brought to one size: another way than that of the data."""
    type_ = ImageFont.truetype(str(font), 60)
    made = []
    for letter in letters:
        page = Picture.new("L", (240, 240))
        ImageDraw.Draw(page).text((80, 80), letter, fill=255, font=type_)
        cut = page.crop(page.getbbox())
        square = Picture.new("L", (max(cut.size), max(cut.size)))
        square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
        made.append(np.asarray(square.resize((20, 20), Picture.Resampling.BOX), dtype=np.float32))
    return F.normalize(torch.from_numpy(np.stack(made)).flatten(1))


def drawing(generator: Generator) -> Tensor:
    """Draw a few thick strokes, anywhere."""
    canvas = torch.zeros(56, 56, dtype=torch.uint8)
    for y, x, high, wide in torch.randint(4, 26, (4, 4), generator=generator).tolist():
        canvas[y : y + high, x : x + wide] = 255
    return canvas


@over("seed", range(5))
def test_of_drawings_that_look_alike_the_first_is_kept(seed: int) -> None:
    generator = Generator().manual_seed(seed)
    first = {letter: {"font": drawing(generator)} for letter in "abcdefgh"}
    kept = distinct(first, "abcdefgh")
    assert "a" in kept
    assert distinct(first, kept) == kept
    again = {letter.upper(): {"other": drawn["font"], "font": drawing(generator)} for letter, drawn in first.items()}
    assert distinct({**first, **again}, "abcdefghABCDEFGH") == kept


@over("seed", range(5))
def test_variations_keep_to_ink_and_differ(seed: int) -> None:
    generator = Generator().manual_seed(seed)
    drawn = torch.stack([torch.zeros(56, 56, dtype=torch.uint8), *[drawing(generator)] * 50])
    blank, *rest = varied(drawn, generator)
    assert not blank.any()
    assert all(image.min() >= 0 and image.max() <= 1 for image in rest)
    assert min(float((a - b).abs().max()) for a, b in combinations(rest, 2)) > 0.05


def test_variations_neither_mirror_nor_turn_far() -> None:
    """A drawing's variations lie nearer to it, on average, than to its mirror images and quarter turns."""
    mark = torch.zeros(56, 56, dtype=torch.uint8)
    mark[8:48, 12:20] = mark[8:16, 12:40] = 255  # a corner
    mean = varied(torch.stack([mark] * 200), Generator().manual_seed(0)).mean(0)[0]
    plain = F.avg_pool2d(mark[None].float() / 255, 2)[0]
    others = [plain.flip(0), plain.flip(1), *(plain.rot90(turns) for turns in (1, 2, 3))]
    assert all((mean - plain).norm() < 0.8 * (mean - other).norm() for other in others)


@pytest.mark.slow
def test_arguments_decide_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for folder, seed in (("one", 0), ("two", 0), ("two", 1)):
        monkeypatch.setenv("LIGHTNING_MTL_CACHE", str(tmp_path / folder))
        made.append(glyphs(2, seed=seed))
    one, two, other = made
    for name, rows in one.items():
        assert torch.equal(images(rows), images(two[name]))
        assert not torch.equal(images(rows), images(other[name]))
        assert classes(rows) == classes(two[name]) == classes(other[name])
        assert len(rows) == 2 * len(classes(rows))
    assert [len(list((tmp_path / folder).iterdir())) for folder in ("one", "two")] == [1, 2]


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_was_drawn_is_kept(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(splits["train"].cache_files[0]["filename"]).parent
    written = times(folder.parent)
    monkeypatch.setenv("LIGHTNING_MTL_CACHE", str(folder.parent))
    again = glyphs(EXAMPLES)
    assert times(folder.parent) == written
    assert folder.name.startswith("glyphs-")
    again["train"] = again["test"]  # a caller may put other rows into a split
    assert classes(glyphs(EXAMPLES)["train"]) == classes(splits["train"])


def test_splits_share_neither_class_nor_script(splits: Splits) -> None:
    for one, other in combinations(splits.values(), 2):
        assert not set(one["character"]) & set(other["character"])
        assert not set(one["script"]) & set(other["script"])


def test_there_are_classes_enough(splits: Splits) -> None:
    counts = {name: len(classes(rows)) for name, rows in splits.items()}
    assert counts == pytest.approx({"train": 375, "validation": 77, "test": 314}, abs=5)  # fonts may change a little


def test_a_name_is_of_the_letter_and_its_script(splits: Splits) -> None:
    for rows in splits.values():
        for name, script in set(zip(rows["character"], rows["script"], strict=True)):
            assert unicodedata.name(unicodedata.lookup(name)) == name
            assert name.lower().replace("nko", "n'ko").startswith(script.lower())


def test_no_letter_looks_like_one_of_another_split(splits: Splits) -> None:
    letters = {name: [unicodedata.lookup(of) for of in classes(rows)] for name, rows in splits.items()}
    for font in FONTS:
        drawn = {name: pictures(of, font) for name, of in letters.items()}
        for one, other in combinations(drawn, 2):
            alike = drawn[one] @ drawn[other].T
            a, b = divmod(int(alike.argmax()), alike.shape[1])
            assert alike.max() < NEAR, (letters[one][a], letters[other][b])


@pytest.mark.parametrize("twins", ["A\u0391\u0410", "L\u14aa", "X\u2d5d\ua4eb", "\u03a3\u2d49", "\u039b\ua4e5\u1431"])
def test_of_letters_that_look_alike_at_most_one_is_there(splits: Splits, twins: str) -> None:
    drawn = pictures(list(twins), FONTS[0])
    assert (drawn @ drawn.T).min() > NEAR  # the measure sees them
    there = {name for rows in splits.values() for name in classes(rows)}
    assert len(there & {unicodedata.name(letter) for letter in twins}) <= 1


def test_means_of_classes_are_not_near_equal_across_splits(splits: Splits) -> None:
    means = {name: F.normalize(by_class(rows).mean(1)) for name, rows in splits.items()}
    for one, other in combinations(means.values(), 2):
        assert (one @ other.T).max() < 0.98


def test_every_class_has_as_many_different_images_as_asked(splits: Splits) -> None:
    for rows in splits.values():
        assert set(np.unique(rows["character"], return_counts=True)[1]) == {EXAMPLES}
        for of in by_class(rows):
            assert len(of.unique(dim=0)) == EXAMPLES
            assert torch.cdist(of, of).fill_diagonal_(9).min() > 0.1


def test_ink_is_one_and_lies_inside(splits: Splits) -> None:
    for rows in splits.values():
        found = images(rows)
        assert found.dtype == torch.float32
        assert found.shape == (len(rows), 1, 28, 28)
        assert found.min() >= 0
        assert 0.9 < found.max() <= 1
        assert (found.amax((1, 2, 3)) > 0.3).all()
        border = found.mean((0, 1))
        assert border[[0, -1]].max() < 0.05 > border[:, [0, -1]].max()
        assert border[10:18, 10:18].mean() > 0.2


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_pixels_tell_classes_apart_but_not_well(splits: Splits, split: str) -> None:
    """The nearest centroid of 5 classes, by raw pixels: above chance, and far from all that can be learned."""
    one, five = (centroid_accuracy(by_class(splits[split]), shots) for shots in (1, 5))
    assert 0.3 < one < 0.6
    assert one + 0.1 < five < 0.85


def centroid_accuracy(rows: Float[Tensor, "classes examples pixels"], shots: int, episodes: int = 300) -> float:
    generator = Generator().manual_seed(0)
    right = []
    for _ in range(episodes):
        ways = rows[torch.randperm(len(rows), generator=generator)[:5]]
        ways = ways[:, torch.randperm(EXAMPLES, generator=generator)]
        near = torch.cdist(ways[:, shots:].flatten(0, 1), ways[:, :shots].mean(1)).argmin(1)
        right.append((near.view(5, -1) == torch.arange(5)[:, None]).double().mean())
    return float(torch.stack(right).mean())


def test_an_image_column_reads_them(splits: Splits) -> None:
    columns = {"image": splits["test"][:3]["image"]}
    made = Image(["image"]).collate(Image(["image"]).prepare(columns, range(3)))["image"]
    assert torch.equal(made, images(splits["test"])[:3])


def test_there_must_be_examples() -> None:
    with pytest.raises(ValueError, match="`examples` must be a whole number of at least 1, got 0"):
        glyphs(0)


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-mtl\[recipes\]'"):
        glyphs(2)
