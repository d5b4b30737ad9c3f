"""Heads: shapes, losses and what they know of their labels."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchmetrics.functional.classification import binary_accuracy, multilabel_accuracy

from lightning_mtl import Arcs, Binary, Head, Multiclass, Multilabel, Regression, Tagging
from tests.cases import over

HEADS = [(Binary(), ()), (Multiclass(3), (3,)), (Multilabel(4), (4,)), (Regression(), ()), (Regression(2), (2,))]
HEADS += [(Multilabel(1), (1,))]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def labels(head: Head, rows: int) -> Tensor:
    """Random labels in the form of a head, each class among them."""
    if isinstance(head, Regression):
        return doubles(rows, *head.label_shape) * 3 + 100
    if isinstance(head, Multilabel):
        drawn = torch.randint(0, 2, (rows, head.outputs))
        drawn[:3] = torch.tensor([[0], [1], [-100]])
        drawn[2, 0] = 1
        return drawn
    classes = 2 if isinstance(head, Binary) else head.outputs
    return torch.cat([torch.arange(classes), torch.randint(0, classes, (rows - classes,))])


@pytest.mark.parametrize(("head", "shape"), HEADS, ids=lambda value: type(value).__name__)
def test_prediction_has_a_row_for_each_example(head: Head, shape: tuple[int, ...]) -> None:
    head.build(6)
    prediction = head(torch.randn(5, 6))
    assert prediction.shape == (5, *shape)
    assert head.predict(prediction).shape == prediction.shape


@pytest.mark.parametrize("readout", ["mean", "first", "last"])
def test_padding_changes_nothing(readout: str) -> None:
    head = Multiclass(3, readout=readout)  # type: ignore[arg-type]
    head.build(6)
    features = torch.randn(2, 4, 6)
    padded = torch.cat([features, torch.full((2, 3, 6), 9.0)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]] * 2)
    assert_close(head(padded, mask), head(features))
    if readout == "mean":
        assert_close(head(features), head(features.mean(1)))


def test_losses_are_those_of_the_definitions() -> None:
    z = torch.randn(6, 3, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    assert_close(Multiclass(3).loss(z, y), -z.log_softmax(-1)[range(6), y].mean())
    yes = torch.tensor([0, 1, 1, 0, 0, 1])
    p = z[:, 0].sigmoid()
    assert_close(Binary().loss(z[:, 0], yes), -(yes * p.log() + (1 - yes) * (1 - p).log()).mean())
    assert_close(Regression().loss(z[:, 0], z[:, 1]), ((z[:, 0] - z[:, 1]) ** 2).mean())


def test_half_precision_does_not_round_the_target() -> None:
    prediction, target = torch.tensor([1000.0], dtype=torch.bfloat16), torch.tensor([1003.0])
    assert Regression().loss(prediction, target).item() == 9.0


def test_multilabel_averages_over_the_known_labels_of_each_example() -> None:
    z = torch.randn(2, 3, dtype=torch.float64)
    y = torch.tensor([[1, 0, -100], [-100, -100, 1]])
    p = z.sigmoid()
    first = -(p[0, 0].log() + (1 - p[0, 1]).log()) / 2
    assert_close(Multilabel(3).loss(z, y), (first - p[1, 2].log()) / 2)


@pytest.mark.parametrize(
    ("head", "target", "complete", "labelled", "valid"),
    [
        (Multiclass(3), [0, 2], True, [1, 1], [1, 1]),
        (Multiclass(3), [0, -100], False, [1, 0], [1, 0]),
        (Multiclass(3), [0, 3], False, [1, 1], [1, 0]),
        (Binary(), [0, 1], True, [1, 1], [1, 1]),
        (Binary(), [2, -100], False, [1, 0], [0, 0]),
        (Regression(), [-100.0, 3.5], True, [1, 1], [1, 1]),
        (Regression(), [math.nan, 3.5], False, [0, 1], [0, 1]),
        (Regression(), [math.inf, 3.5], False, [1, 1], [0, 1]),
    ],
)
def test_heads_know_their_labels(
    head: Head, target: list[float], complete: bool, labelled: list[int], valid: list[int]
) -> None:
    made = torch.tensor(target)
    assert head.complete(made) is complete
    assert head.labelled(made).int().tolist() == labelled
    assert (head.labelled(made) & head.valid(made)).int().tolist() == [
        a & b for a, b in zip(labelled, valid, strict=True)
    ]


def test_own_layers_are_used() -> None:
    layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    head = Multiclass(3, layers=layers)
    head.build(6)
    x = torch.randn(2, 6)
    assert head.layers is layers
    assert_close(head(x), layers(x))


def test_dropout_only_acts_in_training() -> None:
    head = Regression(dropout=0.5)
    head.build(100)
    x: Tensor = torch.ones(1, 100)
    assert len({head(x).item() for _ in range(5)}) > 1
    head.eval()
    assert len({head(x).item() for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Multiclass(1), "`classes` must be a whole number of at least 2, got 1"),
        (lambda: Regression(0), "`outputs` must be a whole number of at least 1, got 0"),
        (lambda: Binary(dropout=1.0), r"`dropout` must be at least 0 and below 1, got 1.0"),
        (lambda: Multiclass(3, names=["a", "b"]), r"`names` must be 3 different names.*got \['a', 'b'\]"),
        (lambda: Multiclass(2, names=["a", "a"]), "`names` must be 2 different names"),
        (lambda: Binary(names=["yes"]), r"`names` must be 2 different names, .* of Binary, got \['yes'\]"),
        (lambda: Regression(2, names=["a"]), "`names` must be 2 different names"),
        (lambda: Multiclass(3, class_weight=[1.0, 2.0]), r"`class_weight` must be positive, 3 in number.*\[1.0, 2.0\]"),
        (lambda: Tagging(2, class_weight=[1.0, 0.0]), "`class_weight` must be positive"),
        (lambda: Binary(pos_weight=-1.0), "`pos_weight` must be positive, 1 in number, or 'balanced', got -1.0"),
        (
            lambda: Binary(pos_weight=2.0, class_weight="balanced"),
            "`pos_weight` and `class_weight` must not both be given",
        ),
        (lambda: Multilabel(2, pos_weight=[1.0]), "`pos_weight` must be positive, 2 in number"),
        (lambda: Multiclass(3, focal=-1.0), "`focal` must be finite and at least 0, got -1.0"),
        (lambda: Binary(label_smoothing=1.0), r"`label_smoothing` must be at least 0 and below 1, got 1.0"),
        (lambda: Binary(label_smoothing=0.1, focal=2.0), "`focal` and `label_smoothing` must not both be set"),
        (lambda: Binary(threshold=0.0), r"`threshold` must lie in \(0, 1\).*got 0.0"),
        (lambda: Multilabel(3, threshold=[0.5, 0.5]), r"`threshold` must lie in \(0, 1\), one for all labels or 3"),
        (lambda: Tagging(1), "`tags` must be a whole number of at least 2, got 1"),
    ],
)
def test_bad_arguments_are_refused(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


# Readout


def test_last_is_the_last_position_that_the_mask_keeps() -> None:
    head = Multiclass(3, readout="last")
    head.build(6)
    features = torch.randn(4, 5, 6)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    expected = head(torch.stack([features[0, 2], features[1, 4], features[2, 2], features[3, 0]]))
    assert_close(head(features, mask), expected)
    assert_close(head(features, mask.bool()), expected)
    assert_close(head(features), head(features[:, -1]))


# Losses: classes that count unequally


def test_weighted_losses_are_torchs_divided_by_the_rows() -> None:
    z, y, w = doubles(50, 3), torch.randint(0, 3, (50,)), [0.5, 1.0, 4.0]
    each = F.cross_entropy(z, y, torch.tensor(w, dtype=torch.float64), reduction="none")
    for head in (Multiclass(3, class_weight=w), Tagging(3, class_weight=w)):
        assert_close(head.loss(z, y), each.mean())
    yes = torch.randint(0, 2, (50,))
    each = F.binary_cross_entropy_with_logits(z[:, 0], yes.double(), pos_weight=torch.tensor(3.0), reduction="none")
    assert_close(Binary(pos_weight=3.0).loss(z[:, 0], yes), each.mean())
    assert_close(Binary(class_weight=[1.0, 3.0]).loss(z[:, 0], yes), each.mean())
    assert_close(Binary(class_weight=[2.0, 6.0]).loss(z[:, 0], yes), 2 * each.mean())


@pytest.mark.parametrize("weight", [3.0, [0.5, 3.0, 7.0]])
def test_weighted_multilabel_loss_is_torchs_over_the_known_labels(weight: float | list[float]) -> None:
    z, y = doubles(40, 3), labels(Multilabel(3), 40)
    known = y >= 0
    each = F.binary_cross_entropy_with_logits(
        z, y.clamp(min=0).double(), pos_weight=torch.tensor(weight).expand(3), reduction="none"
    )
    expected = torch.stack([each[i][known[i]].mean() for i in range(40)]).mean()
    assert_close(Multilabel(3, pos_weight=weight).loss(z, y), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_that_of_the_paper(gamma: float) -> None:
    z, y = doubles(30, 3), torch.randint(0, 3, (30,))
    p = z.softmax(-1)[range(30), y]
    expected = -((1 - p) ** gamma) * p.log()  # equation 4
    for head in (Multiclass(3, focal=gamma), Tagging(3, focal=gamma)):
        assert_close(head.loss(z, y), expected.mean())
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert_close(Multiclass(3, focal=gamma, class_weight=[1.0, 2.0, 3.0]).loss(z, y), (weights[y] * expected).mean())
    yes = labels(Multilabel(3), 30)
    p = torch.where(yes == 1, z.sigmoid(), 1 - z.sigmoid())
    each = -((1 - p) ** gamma) * p.log()
    known = yes >= 0
    assert_close(Multilabel(3, focal=gamma).loss(z, yes), ((each * known).sum(1) / known.sum(1)).mean())
    assert_close(Binary(focal=gamma).loss(z[3:, 0], yes[3:, 0]), each[3:, 0].mean())


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_loss_has_a_finite_gradient_where_the_prediction_is_sure(gamma: float, dtype: torch.dtype) -> None:
    z = torch.tensor([200.0, -200.0, 20.0, 0.0], dtype=dtype, requires_grad=True)
    loss = Binary(focal=gamma).loss(z, torch.tensor([1, 1, 1, 0]))
    assert torch.autograd.grad(loss, z)[0].isfinite().all()
    unknown = torch.tensor([[200.0, -200.0, 1.0]], dtype=dtype, requires_grad=True)
    loss = Multilabel(3, focal=gamma).loss(unknown, torch.tensor([[-100, -100, 1]]))
    (slope,) = torch.autograd.grad(loss, unknown)
    assert loss.isfinite()
    assert slope.isfinite().all()
    assert slope[0, :2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "make", [Binary, lambda **of: Multiclass(3, **of), lambda **of: Multilabel(3, **of), lambda **of: Tagging(3, **of)]
)
def test_weights_of_one_are_the_plain_loss(make: Callable[..., Head]) -> None:
    plain = make()
    y = labels(plain, 40)
    z = doubles(40, *(() if plain.outputs == 1 else (3,)))
    ones: dict[str, Any] = (
        {"pos_weight": 1.0} if plain.kind in ("binary", "multilabel") else {"class_weight": [1.0] * 3}
    )
    assert_close(make(**ones).loss(z, y), plain.loss(z, y))
    assert make(focal=0.0).loss(z, y) == plain.loss(z, y)
    assert_close(make(label_smoothing=1e-12).loss(z, y), plain.loss(z, y))


def test_label_smoothing_is_torchs() -> None:
    z, y = doubles(30, 3), torch.randint(0, 3, (30,))
    for head in (Multiclass(3, label_smoothing=0.1), Tagging(3, label_smoothing=0.1)):
        assert_close(head.loss(z, y), F.cross_entropy(z, y, label_smoothing=0.1))
    yes = torch.randint(0, 2, (30,))
    two = torch.stack([torch.zeros(30, dtype=torch.float64), z[:, 0]], 1)  # a yes of two classes is a sigmoid
    expected = F.cross_entropy(two, yes, label_smoothing=0.1, reduction="none")
    assert_close(Binary(label_smoothing=0.1).loss(z[:, 0], yes), expected.mean())
    assert_close(Multilabel(1, label_smoothing=0.1).loss(z[:, :1], yes[:, None]), expected.mean())
    weights = torch.tensor([1.0, 5.0], dtype=torch.float64)[yes]
    assert_close(Binary(label_smoothing=0.1, pos_weight=5.0).loss(z[:, 0], yes), (weights * expected).mean())


@pytest.mark.parametrize(
    "make", [lambda **of: Multiclass(3, **of), lambda **of: Tagging(3, **of), Binary, lambda **of: Multilabel(3, **of)]
)
@pytest.mark.parametrize("weighed", [False, True])
def test_labels_are_smoothed_in_training_alone(make: Callable[..., Head], weighed: bool) -> None:
    of: dict[str, Any] = {}
    if weighed:
        of = {"pos_weight": 3.0} if make().kind in ("binary", "multilabel") else {"class_weight": [1.0, 2.0, 0.5]}
    smooth, plain = make(label_smoothing=0.3, **of), make(**of)
    y = labels(plain, 40)
    z = doubles(40, *(() if plain.outputs == 1 else (3,)))
    assert abs(smooth.loss(z, y) - plain.loss(z, y)) > 1e-9
    assert_close(smooth.eval().loss(z, y), plain.loss(z, y))


def test_label_smoothing_can_be_chosen_later() -> None:
    z, y = doubles(30, 3), torch.randint(0, 3, (30,))
    head = Multiclass(3)
    head.set_label_smoothing(0.2)
    assert head.label_smoothing == 0.2
    assert_close(head.loss(z, y), F.cross_entropy(z, y, label_smoothing=0.2))
    with pytest.raises(ValueError, match=r"`label_smoothing` must be at least 0 and below 1, got -0.1"):
        head.set_label_smoothing(-0.1)
    with pytest.raises(ValueError, match="`focal` and `label_smoothing` must not both be set"):
        Multiclass(3, focal=1.0).set_label_smoothing(0.1)
    assert [head.smooths for head in (Binary(), Multilabel(2), Tagging(3), Regression(), Arcs())] == [True] * 3 + [
        False
    ] * 2


SHARDED = [
    Binary(pos_weight=5.0, focal=2.0),
    Multiclass(3, class_weight=[0.1, 1.0, 10.0]),
    Multilabel(3, pos_weight=[0.1, 1.0, 10.0]),
    Tagging(3, class_weight="balanced", label_smoothing=0.2),
    Regression(2, scaled=True),
]


@pytest.mark.parametrize("head", SHARDED, ids=lambda head: type(head).__name__)
def test_shards_weighed_by_their_rows_are_the_whole_batch(head: Head) -> None:
    y = labels(head, 40)
    z = doubles(40, *(() if head.outputs == 1 else (head.outputs,)))
    head.fit(y)
    parts = sum(len(part) * head.loss(z[part], y[part]) for part in (range(7), range(7, 40)))
    assert_close(parts / 40, head.loss(z, y))


def test_balanced_weights_are_scikit_learns() -> None:
    y = torch.tensor([0, 0, 0, 0, 1, 1, 2, -100])
    expected = compute_class_weight("balanced", classes=torch.arange(3).numpy(), y=y[:-1].numpy()).tolist()
    for head in (Multiclass(3, class_weight="balanced"), Tagging(3, class_weight="balanced")):
        head.fit(y)
        assert head.learned() == {"weights": pytest.approx(expected)}
        assert head.class_weight == "balanced"
    yes = (y[:-1] > 0).long()
    binary = Binary(class_weight="balanced")
    binary.fit(yes)
    assert binary.weights == pytest.approx([7 / 8, 7 / 6])
    ratio = Binary(pos_weight="balanced")
    ratio.fit(yes)
    assert ratio.learned() == {"weights": [1.0, 4 / 3]}
    several = Multilabel(2, pos_weight="balanced")
    several.fit(torch.tensor([[1, 0], [0, 0], [0, 1], [-100, 1], [0, 1]]))
    assert several.learned() == {"weights": [3.0, 2 / 3]}


def test_fit_learns_anew() -> None:
    head = Binary(pos_weight="balanced")
    head.fit(torch.tensor([0, 0, 1]))
    head.tune(torch.tensor([0.1, 0.3]), torch.tensor([0, 1]))
    head.fit(torch.tensor([0, 1]))
    assert head.learned() == {"weights": [1.0, 1.0]}
    assert_close(head.loss(torch.ones(2), torch.tensor([0, 1])), Binary().loss(torch.ones(2), torch.tensor([0, 1])))


@pytest.mark.parametrize(
    ("head", "target", "says"),
    [
        (Multiclass(3, class_weight="balanced"), [0, 1], "needs a training example of each class, got none of class 2"),
        (Tagging(2, names=["O", "X"], class_weight="balanced"), [0], "got none of class 'X'"),
        (Binary(pos_weight="balanced"), [0, 0], "needs training examples of both, got none of 1"),
        (Binary(pos_weight="balanced", names=["no", "yes"]), [1], "got none of 'no'"),
        (Binary(class_weight="balanced"), [1], "got none of class 0"),
        (Multilabel(2, pos_weight="balanced", names=["a", "b"]), [[0, 0], [1, 0]], "0 with and 2 without label 'b'"),
        (Regression(scaled=True), [0.1, 0.1, 0.1], "needs training labels that differ, got 0.1.* in output 0"),
        (Regression(2, scaled=True, names=["a", "b"]), [[1.0, 5.0], [2.0, 5.0]], "got 5.0 everywhere in output 'b'"),
    ],
)
def test_labels_from_which_nothing_can_be_learned_are_refused(head: Head, target: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        head.fit(torch.tensor(target))


@pytest.mark.parametrize("head", [Binary(pos_weight="balanced"), Multiclass(2, class_weight="balanced")])
def test_a_loss_that_must_be_fitted_says_so(head: Head) -> None:
    with pytest.raises(ValueError, match=r"Balanced weights .* must be learned before its loss, got none"):
        head.loss(torch.zeros(3, *(() if head.outputs == 1 else (2,))), torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"The scale of `Regression\(scaled=True\)` must be learned"):
        Regression(scaled=True).predict(torch.zeros(3))


# Thresholds


def brute_force(p: Sequence[float], y: Sequence[int]) -> tuple[float, float]:
    """Try the middle between any two neighbouring scores: the best F1, and the threshold nearest to one half with it."""
    seen = sorted({0.0, *p})
    middles = [(a + b) / 2 for a, b in pairwise(seen)]
    scores = [f1_score(y, [q > t for q in p], zero_division=0) for t in middles]
    best = max(scores)
    return best, min((t for t, score in zip(middles, scores, strict=True) if score == best), key=lambda t: abs(t - 0.5))


@over("seed", range(20))
def test_tuned_threshold_is_the_best_there_is(seed: int) -> None:
    torch.manual_seed(seed)
    p = (torch.randint(0, 20, (40,)) / 20).double()  # with ties, and with zeros
    y = (torch.rand(40) < 0.1 + 0.6 * p).long()
    y[0] = 1
    head = Binary()
    head.tune(torch.cat([p, torch.ones(1)]), torch.cat([y, torch.tensor([-100])]))
    assert head.learned()["threshold"] == pytest.approx(brute_force(p.tolist(), y.tolist())[1])
    assert head.threshold == 0.5


def test_labels_are_tuned_one_by_one() -> None:
    p, y = torch.rand(50, 3), torch.randint(0, 2, (50, 3))
    y[:, 2] = 0  # no example: stays as it was given
    y[::7] = -100
    head = Multilabel(3, threshold=[0.4, 0.5, 0.6])
    head.tune(p, y)
    cuts = head.learned()["threshold"]
    for label in (0, 1):
        known = y[:, label] >= 0
        one = Binary()
        one.tune(p[known, label], y[known, label])
        assert cuts[label] == one.learned()["threshold"]
    assert cuts[2] == 0.6
    untouched = Multilabel(3, threshold=0.3)
    untouched.tune(p, torch.zeros_like(y))
    assert untouched.learned() == {}


def test_a_tuned_cut_between_neighbouring_floats_tells_them_apart() -> None:
    low = torch.tensor(0.1)
    p = torch.stack([low, torch.nextafter(low, torch.tensor(1.0))])
    head = Binary()
    head.tune(p, torch.tensor([0, 1]))
    assert [answer["label"] for answer in head.answers(p)] == [0, 1]
    assert (head.judged(p) > 0.5).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_metrics_judge_the_tuned_decision_and_the_same_order(dtype: torch.dtype) -> None:
    p, y = torch.rand(200, 3).to(dtype), torch.randint(0, 2, (200, 3))
    cuts = [0.0625, 0.5, 0.9375]
    several = Multilabel(3, threshold=cuts)
    for label, cut in enumerate(cuts):
        head = Binary(threshold=cut)
        judged = head.judged(p[:, label])
        decided = torch.tensor([answer["label"] for answer in head.answers(p[:, label])])
        assert_close(binary_accuracy(judged, y[:, label]), (decided == y[:, label]).float().mean())
        assert_close(several.judged(p)[:, label], judged, check_dtype=False)
        before, after = (roc_auc_score(y[:, label], of.double()) for of in (p[:, label], judged))
        assert after == pytest.approx(before, abs=1e-5)
        ends = head.judged(torch.tensor([0.0, cut, 1.0]))
        assert_close(ends, torch.tensor([0.0, 0.5, 1.0]))
    there = torch.tensor([[label in answer["labels"] for label in range(3)] for answer in several.answers(p)])
    assert_close(multilabel_accuracy(several.judged(p), y, 3, average="micro"), (there == y.bool()).float().mean())


def test_without_a_threshold_metrics_get_what_is_predicted() -> None:
    p = torch.rand(5, 3)
    assert Multilabel(3).judged(p) is p
    assert Multiclass(3).judged(p) is p
    assert Binary().judged(p[:, 0]).tolist() == p[:, 0].tolist()


# Scaled numbers


@pytest.mark.parametrize("outputs", [1, 2])
def test_scaled_regression_works_in_standard_deviations(outputs: int) -> None:
    head = Regression(outputs, scaled=True)
    y = labels(head, 30)
    head.build(6)
    head.double()
    head.fit(y)
    z = (y - y.mean(0)) / y.std(0, correction=0)
    assert_close(head.scale_target(y), z)
    raw = torch.randn_like(y)
    assert_close(head.loss(raw, y), F.mse_loss(raw, z))
    assert_close(head.predict(head.scale_target(y)), y)
    assert head.predict(raw).shape == raw.shape


def test_a_plain_regression_scales_nothing() -> None:
    y = torch.tensor([1.0, 2.0])
    head = Regression()
    head.fit(y)
    assert head.learned() == {}
    assert head.scale_target(y) is y
    assert head.predict(y) is y


def test_casting_the_layers_does_not_round_what_was_learned() -> None:
    head = Regression(scaled=True)
    head.build(4)
    head.fit(torch.tensor([1001.0, 1003.0]))
    head.to(torch.bfloat16)
    assert head.predict(torch.zeros(2, dtype=torch.bfloat16)).tolist() == [1002.0, 1002.0]
    head.double()
    assert head.predict(torch.zeros(1, dtype=torch.float64)).dtype is torch.float64


# Tags


def test_tagging_predicts_for_each_position() -> None:
    head = Tagging(3)
    head.build(6)
    features = torch.randn(2, 5, 6)
    logits = head(features, torch.ones(2, 5))
    assert logits.shape == (2, 5, 3)
    assert_close(logits[1, 2:3], head(features[1:, 2:3])[0])
    assert_close(head.predict(logits)[0], head.predict(logits[0]))
    assert Tagging.per_position
    assert not Multiclass.per_position
    with pytest.raises(ValueError, match=r"must have the shape \[batch, length, width\], got \[2, 6\]. Use an encoder"):
        head(torch.randn(2, 6))


def test_tagging_knows_its_labels_one_by_one() -> None:
    head, target = Tagging(3), torch.tensor([[0, 2, -100], [3, 1, -100]])
    assert head.labelled(target).tolist() == [[True, True, False]] * 2
    assert head.valid(target).tolist() == [[True, True, False], [False, True, False]]
    assert not head.complete(target)
    assert head.complete(target[:1, :2])


@pytest.mark.parametrize(
    ("names", "iob"),
    [
        (["O", "B-A", "I-A"], True),
        (["B-A", "I-A", "I-B"], True),
        (["O", "A", "B"], False),
        (["O", "B-A", "X"], False),
        ([0, 1, 2], False),
        (None, False),
    ],
)
def test_names_of_spans_are_recognised(names: list[Any] | None, iob: bool) -> None:
    assert Tagging(3, names=names).iob is iob


# Answers


def test_answers_are_plain_python() -> None:
    p = torch.tensor([[0.125, 0.625, 0.25], [0.5, 0.25, 0.25]], dtype=torch.bfloat16)
    assert Multiclass(3).answers(p)[0] == {
        "label": 1,
        "probability": 0.625,
        "probabilities": {0: 0.125, 1: 0.625, 2: 0.25},
    }
    named = Multiclass(3, names=["a", "b", "c"]).answers(p)
    assert named[1] == {"label": "a", "probability": 0.5, "probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}
    assert Binary().answers(p[:, 1]) == [
        {"label": 1, "probability": 0.625, "probabilities": {0: 0.375, 1: 0.625}},
        {"label": 0, "probability": 0.75, "probabilities": {0: 0.75, 1: 0.25}},
    ]
    assert Binary(names=[False, True]).answers(p[:, 1])[0]["label"] is True
    assert [answer["labels"] for answer in Multilabel(3, threshold=0.2).answers(p)] == [[1, 2], [0, 1, 2]]
    assert Multilabel(3, names=["a", "b", "c"]).answers(p)[0] == {
        "labels": ["b"],
        "probabilities": {"a": 0.125, "b": 0.625, "c": 0.25},
    }
    assert Regression().answers(p[:, 0]) == [{"value": 0.125}, {"value": 0.5}]
    assert Regression(3).answers(p)[0] == {"values": [0.125, 0.625, 0.25]}
    assert Regression(3, names=["a", "b", "c"]).answers(p)[0] == {"values": {"a": 0.125, "b": 0.625, "c": 0.25}}
    assert all(head.answers(torch.zeros(0, *shape)) == [] for head, shape in HEADS)


def test_tags_come_in_the_order_of_the_words() -> None:
    p = torch.tensor([[[0.75, 0.25], [0.0, 1.0], [0.5, 0.5], [0.125, 0.875]]]).expand(3, -1, -1)
    words = torch.tensor([[-1, 0, -1, 1], [1, 0, 2, -1], [-1, -1, -1, -1]])
    assert Tagging(2, names=["O", "X"]).answers(p, words) == [
        {"tags": ["X", "X"], "probabilities": [1.0, 0.875]},
        {"tags": ["X", "O", "O"], "probabilities": [1.0, 0.75, 0.5]},
        {"tags": [], "probabilities": []},
    ]
    with pytest.raises(ValueError, match="`words` must say which word starts"):
        Tagging(2).answers(p)


# What is learned


LEARNING = [
    lambda: Binary(pos_weight="balanced", focal=2.0),
    lambda: Multiclass(3, class_weight="balanced", names=["a", "b", "c"]),
    lambda: Multilabel(3, pos_weight="balanced"),
    lambda: Tagging(3, class_weight="balanced"),
    lambda: Regression(scaled=True),
    lambda: Regression(2, scaled=True),
]


@pytest.mark.parametrize("make", LEARNING)
def test_what_was_learned_goes_over_to_another_head(make: Callable[[], Head]) -> None:
    first, second = make(), make()
    for head in (first, second):
        head.build(6)
        assert head.learned() == {}
        assert set(head.state_dict()) == {"layers.weight", "layers.bias"}
    y = labels(first, 40)
    z = doubles(40, *(() if first.outputs == 1 else (first.outputs,)))
    first.fit(y)
    first.tune(first.predict(z), y)
    assert ("threshold" in first.learned()) == (first.kind in ("binary", "multilabel"))
    second.restore(first.learned())
    for other in (second, copy.deepcopy(first)):
        assert other.learned() == first.learned()
        assert other.loss(z, y) == first.loss(z, y)
        assert torch.equal(other.judged(other.predict(z)), first.judged(first.predict(z)))
        if first.kind != "tagging":
            assert other.answers(other.predict(z)) == first.answers(first.predict(z))
        assert set(other.state_dict()) == {"layers.weight", "layers.bias"}
    second.restore({})
    assert second.learned() == {}


def test_names_can_come_from_the_data() -> None:
    head = Multiclass(2, class_weight="balanced")
    head.restore({"names": ["a", "b"]})
    head.fit(torch.tensor([0, 1]))
    assert head.learned() == {"names": ["a", "b"], "weights": [1.0, 1.0]}
    assert head.answers(torch.tensor([[0.25, 0.75]]))[0]["label"] == "b"
    assert head.names is None
    with pytest.raises(ValueError, match="`names` must be 2 different names"):
        head.restore({"names": ["a"]})
    with pytest.raises(ValueError, match=r"`learned` of Multiclass may hold .* got \['mean'\]"):
        head.restore({"mean": [1.0]})


ARGUMENTS: list[tuple[Callable[..., Head], dict[str, Any]]] = [
    (Binary, {"names": ["n", "y"], "pos_weight": "balanced", "focal": 1.0, "threshold": 0.3, "dropout": 0.1}),
    (Binary, {"class_weight": [1.0, 2.0], "label_smoothing": 0.1, "readout": "last"}),
    (Multiclass, {"classes": 3, "class_weight": [1.0, 2.0, 3.0], "layers": nn.Linear(6, 3), "dropout": 0.5}),
    (Multilabel, {"labels": 2, "pos_weight": [1.0, 2.0], "threshold": [0.1, 0.2]}),
    (Regression, {"outputs": 2, "names": ["a", "b"], "scaled": True}),
    (Tagging, {"tags": 2, "names": ["O", "B-X"], "class_weight": "balanced", "dropout": 0.2}),
]


@pytest.mark.parametrize(("make", "given"), ARGUMENTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_argument_stays_an_attribute_of_its_name(make: Callable[..., Head], given: dict[str, Any]) -> None:
    head = make(**given)
    head.build(6)
    if not isinstance(head, Multilabel):
        head.fit(labels(head, 20))
    parameters = inspect.signature(make).parameters
    kept = {name: getattr(head, name) for name in parameters}
    assert all(kept[name] is value for name, value in given.items())
    plain = {name: p.default for name, p in parameters.items() if name not in given and name != "layers"}
    assert plain == {name: kept[name] for name in plain}


@pytest.mark.filterwarnings("ignore::beartype.roar.BeartypeWarning")
def test_numbers_of_another_shape_are_no_targets() -> None:
    head = Regression()
    head.build(3)
    with pytest.raises((ValueError, TypeCheckError)) as raised:
        head.loss(torch.zeros(4), torch.zeros(4, 1))
    assert raised.type is TypeCheckError or raised.match("must be of the shape of the prediction")
