"""Metrics that torchmetrics does not have."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_mtl.metrics import MacroF1, SpanF1, scheme_of
from tests.cases import over

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def numbers(*rows: str) -> tuple[Tensor, Tensor]:
    """Tags of some rows as numbers, and the row of each."""
    tags = [row.split() for row in rows]
    of = [number for number, row in enumerate(tags) for _ in row]
    return torch.tensor([NAMES.index(tag) for row in tags for tag in row], dtype=torch.long), torch.tensor(of)


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """Read the spans of one row word by word, as conlleval does."""
    found, start, kind = set(), 0, ""
    for i, tag in enumerate([*tags, "O"]):
        goes_on = tag.startswith("I-") and tag[2:] == kind
        if kind and not goes_on:
            found.add((start, i, kind))
            kind = ""
        if tag != "O" and not goes_on:
            start, kind = i, tag[2:]
    return found


def reference(found: list[list[str]], true: list[list[str]]) -> float:
    pairs = [(spans(a), spans(b)) for a, b in zip(found, true, strict=True)]
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * sum(len(a & b) for a, b in pairs) / total if total else 0.0


def drawn(rows: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Random rows, empty ones too, in which about half of the tags are right."""
    chance = random.Random(seed)
    true = [[chance.choice(NAMES) for _ in range(chance.randint(0, 9))] for _ in range(rows)]
    return [[tag if chance.random() < 0.7 else chance.choice(NAMES) for tag in row] for row in true], true


@over("seed", range(30))
def test_it_is_the_reference_on_random_tags(seed: int) -> None:
    found, true = drawn(12, seed)
    metric = SpanF1(NAMES)
    for part in (slice(0, 5), slice(5, 12)):
        preds, rows = numbers(*map(" ".join, found[part]))
        metric.update(preds, numbers(*map(" ".join, true[part]))[0], sequence=rows)
    assert metric.compute().item() == pytest.approx(reference(found, true))


def test_it_is_what_the_hand_computes() -> None:
    true, rows = numbers("B-PER I-PER O B-LOC", "I-LOC I-LOC B-LOC", "O O")  # 2 + 2 + 0 spans
    found, _ = numbers("B-PER I-PER O I-LOC", "I-LOC I-PER B-LOC", "B-PER O")  # 2 + 3 + 1, right: 2 + 1
    metric = SpanF1(NAMES)
    metric.update(found, true, rows)
    assert (metric.tp.item(), metric.predicted.item(), metric.true.item()) == (3, 6, 4)
    assert metric.compute().item() == pytest.approx(2 * 3 / 10)


def test_spans_do_not_cross_rows() -> None:
    true, rows = numbers("O B-PER", "I-PER O")
    one_row, _ = numbers("O B-PER I-PER O")
    metric = SpanF1(NAMES)
    metric.update(one_row, true, rows)
    assert (metric.tp.item(), metric.true.item()) == (2, 2)
    metric.reset()
    metric.update(one_row, true, torch.zeros(4, dtype=torch.long))
    assert (metric.tp.item(), metric.true.item()) == (1, 1)


def test_probabilities_count_by_their_highest() -> None:
    true, rows = numbers("B-PER I-PER O B-LOC")
    metric = SpanF1(NAMES)
    assert metric(torch.eye(5)[true], true, sequence=rows).item() == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_without_a_span_among_the_labels_it_is_what_is_asked_for(value: float) -> None:
    metric = SpanF1(NAMES, zero_division=value)
    none, one = torch.zeros(0, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    metric.update(torch.zeros(0, 5), none, none)
    assert metric.compute().item() == pytest.approx(value, nan_ok=True)
    metric.update(one + 1, one, one)
    assert metric.compute().item() == pytest.approx(value, nan_ok=True)
    metric.update(one + 1, one + 1, one)
    assert metric.compute().item() == pytest.approx(2 / 3)


def test_it_stands_in_a_collection_beside_metrics_that_know_no_rows() -> None:
    metrics = MetricCollection({"accuracy": MulticlassAccuracy(5, average="micro"), "span_f1": SpanF1(NAMES)}).clone()
    for seed in range(3):  # the second update is the first in which torchmetrics groups metrics
        found, true = drawn(6, seed)
        preds, rows = numbers(*map(" ".join, found))
        metrics.update(torch.eye(5)[preds], numbers(*map(" ".join, true))[0], sequence=rows)
    assert set(metrics.compute()) == {"accuracy", "span_f1"}


def test_counts_stay_whole_numbers() -> None:
    metric = SpanF1(NAMES)
    metric.set_dtype(torch.float32)
    metric.half()
    true, rows = numbers("B-PER")
    metric.update(true, true, rows)
    assert metric.tp.dtype is torch.int64
    assert metric.state_dict() == {}
    assert SpanF1.higher_is_better


def test_counts_of_two_ranks_add_up() -> None:
    found, true = drawn(12, seed=1)
    parts = [SpanF1(NAMES), SpanF1(NAMES)]
    for metric, part in zip(parts, (slice(0, 4), slice(4, 12)), strict=True):
        preds, rows = numbers(*map(" ".join, found[part]))
        metric.update(preds, numbers(*map(" ".join, true[part]))[0], rows)
    parts[0].merge_state(parts[1])  # by the same rules as between ranks
    assert parts[0].compute().item() == pytest.approx(reference(found, true))


PREFIXES = {"BIO": "BIIB", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "IO": "IIII"}
"""The prefixes of the first word of a span, of those between, of the last one, and of an only one."""


def tagged(scheme: str, marked: list[tuple[str, int]]) -> list[str]:
    """Tags of spans, each a type and its length; "O" has one word."""
    first, inside, last, only = list(PREFIXES[scheme])
    tags = []
    for kind, size in marked:
        if kind == "O":
            tags.append("O")
        else:
            whole = only if size == 1 else first + inside * (size - 2) + last
            tags += [f"{prefix}-{kind}" for prefix in whole]
    return tags


@pytest.mark.parametrize("scheme", PREFIXES)
@over("seed", range(10))
def test_each_scheme_marks_the_same_spans(scheme: str, seed: int) -> None:
    """Spans of random lengths, of which some are found: F1 is that of the spans, however tags mark them."""
    chance = random.Random(seed)
    marked = [part for _ in range(12) for part in [(chance.choice(["PER", "LOC"]), chance.randint(1, 4)), ("O", 1)]]
    found = [(kind if chance.random() < 0.7 else "O", size) for kind, size in marked]
    cut = [part for kind, size in found for part in ([("O", 1)] * size if kind == "O" else [(kind, size)])]
    true_tags, found_tags = tagged(scheme, marked), tagged(scheme, cut)
    names = sorted({*true_tags, *found_tags})
    metric = SpanF1(names)
    predicted, true = (torch.tensor([names.index(tag) for tag in tags]) for tags in (found_tags, true_tags))
    metric.update(predicted, true, sequence=torch.zeros(len(true_tags), dtype=torch.long))
    right = sum(kind != "O" for kind, _ in found)
    assert scheme_of(names) == metric.scheme == scheme
    assert metric.compute().item() == pytest.approx(2 * right / (right + 12))


def test_spans_of_one_type_end_where_their_tags_say() -> None:
    names = ["O", "B-A", "I-A", "E-A", "S-A"]
    metric = SpanF1(names)
    tags = torch.tensor([1, 3, 2, 3, 4, 4, 0])  # B E, I E, S, S
    metric.update(tags, tags, sequence=torch.zeros(7, dtype=torch.long))
    assert metric.true.item() == 4


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["B-A", "I-B"], "BIO"),
        (["O", "I-PER"], "IO"),
        (["O", "PER", "LOC"], "IO"),
        (["O", "S-PER"], "BIOES"),
        (["O", "U-PER"], "BILOU"),
        (["O", "B-A", "M-A", "E-A", "W-A"], "BMEWO"),
        (["S-1", "E-2"], None),
        (["NOUN", "VERB"], None),
        (["O", "N", "V"], None),
        (["O", "B-A", "X"], None),
        (["O"], None),
        ([0, 1], None),
        (["O", "Case=Nom"], None),
    ],
)
def test_tags_tell_how_they_mark_spans(names: list[Any], scheme: str | None) -> None:
    assert scheme_of(names) == scheme
    if scheme is None and all(isinstance(name, str) for name in names):
        with pytest.raises(ValueError, match=r"`names` must be 'O' and tags of spans, e\.g\. 'B-PER'"):
            SpanF1(names)


@over("seed", range(5))
def test_macro_f1_is_that_of_torchmetrics_bit_for_bit(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    preds, target = torch.rand(30, 7, generator=chance), torch.randint(0, 5, (30,), generator=chance)
    made, theirs = MacroF1(7), MulticlassF1Score(7, average="macro", validate_args=False)
    for part in (slice(0, 20), slice(20, 21), slice(21, None)):
        for metric in (made, theirs):
            metric.update(preds[part], target[part])
    assert made.compute().equal(theirs.compute())


def test_macro_f1_of_many_classes_keeps_a_few_numbers_for_each() -> None:
    """Torchmetrics makes a matrix of 8 TB here."""
    metric = MacroF1(1_000_000)
    metric.update(torch.arange(40), torch.arange(40) * 2)
    assert metric.compute().item() == pytest.approx(1 / 60)  # one right of the 60 classes that occur
