"""Names that come with the data are shown as they are: no markup, no commands, no line ends."""

from __future__ import annotations

import re

import pytest

from lightning_mtl import Multiclass, Task
from lightning_mtl._table import one_line, table
from lightning_mtl.saving._allowed import allowed_class
from lightning_mtl.saving._model_card import model_card

from .. import builders

NAMES = [
    "fine\n\n# License: none",
    "<script>alert(1)</script>",
    "[here](javascript:alert(2))",
    "a | b",
    "`code`",
    "![](http://example.org/x.png)",
    "two\r\nlines\x1b[31m\u202e",
    "\\[x](y)",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_shows_a_name_as_it_is(name: str) -> None:
    head = Multiclass(2, names=[name, "other"])
    head.build(8)
    card = model_card([Task("a", name, head=head)], builders.encoder(), {f"test/a/{name}": 0.5})
    plain = model_card([Task("x", "x", head=head)], builders.encoder(), {"test/x/y": 0.5})
    assert card.count("\n") == plain.count("\n")
    assert card.isprintable() is False  # line ends
    assert all(line.isprintable() for line in card.split("\n"))
    shown = card.split("```")[0].split("---\n\n", 1)[1]
    row = next(line for line in shown.split("\n") if "Multiclass" in line)
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 6
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]()`<>]", shown.replace("(HardSharing)", "").split("One network")[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_a_line_for_each_row(name: str) -> None:
    lines = table(["task", name], [[name, "1"], ["b", name]]).split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert len({len(line) for line in lines}) == 1


def test_letters_of_all_scripts_stay() -> None:
    for text in ("naïve", "日本語", "हिन्दी", "می‌خواهم", "👩‍👩‍👧", "so-so", "a\\b", "non\u00a0breaking"):
        assert one_line(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "torchmetrics.functional.image.lpips._LPIPS",
        "torchmetrics.functional.image.dists.DISTSNetwork",
        "torchmetrics.image.fid.NoTrainInceptionV3",
        "torchmetrics.text.bert.BERTScore",
        "torchmetrics.classification.base._ClassificationTaskWrapper",
        "torchmetrics.utilities.imports.RequirementCache",
    ],
)
def test_no_checkpoint_names_a_loader_or_what_is_private(name: str) -> None:
    __import__(name.rpartition(".")[0])
    with pytest.raises(
        ValueError, match=r"A checkpoint may hold only classes of lightning_mtl, torch\.nn and torchmetrics"
    ):
        allowed_class(name)
