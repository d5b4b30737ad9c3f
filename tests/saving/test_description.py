"""Objects as plain data: what was described comes back, and nothing else does."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAveragePrecision,
)
from torchmetrics.regression import (
    ConcordanceCorrCoef,
    MeanAbsoluteError,
    MeanSquaredError,
    PearsonCorrCoef,
    R2Score,
    SpearmanCorrCoef,
)

from lightning_mtl import BagOfWords, HardSharing, Recurrent, Tabular, Vocabulary
from lightning_mtl.encoders import HashTokenizer
from lightning_mtl.saving import custom_objects, describe, rebuild


def kept(data: Any) -> Any:
    """Write data as JSON and as a checkpoint, and read it back."""
    file = io.BytesIO()
    torch.save(json.loads(json.dumps(data)), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def again(value: Any) -> Any:
    data = describe(value)
    assert custom_objects(data) == {}
    made = rebuild(kept(data))
    if isinstance(value, nn.Module):
        made.load_state_dict(value.state_dict())
    assert describe(made) == data
    return made


class Shift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Louder(nn.Linear):
    pass


class OwnTokenizer(HashTokenizer):
    pass


def tied() -> nn.Module:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, second)


def changed(module: nn.Module, name: str, value: object) -> nn.Module:
    setattr(module, name, value)
    return module


IDS, IMAGES, TABLE, SERIES = torch.tensor([[1, 4, 2]]), torch.ones(2, 3, 8, 8), torch.randn(5, 6), torch.randn(2, 4, 8)
PAIR: Any = [2, 2]
STACKS: list[tuple[Callable[[], nn.Module], Tensor]] = [
    (lambda: nn.Sequential(nn.Linear(6, 4, bias=False), nn.Tanh(), nn.LayerNorm(4), nn.Dropout(0.3)), TABLE),
    (lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, momentum=None), nn.GELU("tanh"), nn.PReLU(3)), TABLE),
    (lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(), nn.RMSNorm(6), nn.Softmax(-1)), TABLE),
    (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, (3, 3), padding="same", bias=False),
            nn.BatchNorm2d(4),
            nn.MaxPool2d(PAIR),
            nn.LeakyReLU(0.3),
        ),
        IMAGES,
    ),
    (
        lambda: nn.Sequential(
            nn.Upsample(scale_factor=(2, 2)),
            nn.AdaptiveAvgPool2d((1, None)),
            nn.Flatten(2),
            nn.InstanceNorm1d(3, affine=True),
        ),
        IMAGES,
    ),
    (lambda: nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Flatten()), IDS),
    (lambda: nn.Sequential(nn.EmbeddingBag(9, 4, mode="max", padding_idx=0)), IDS),
    (lambda: nn.GRU(8, 3, 2, bidirectional=True, batch_first=True, dropout=0.1), SERIES),
    (lambda: nn.LSTM(8, 3, bias=False, proj_size=2), SERIES),
    (lambda: nn.RNN(8, 3, nonlinearity="relu"), SERIES),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.2, "gelu", 1e-4, batch_first=True, norm_first=True), SERIES),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16, activation=nn.SiLU(), bias=False), SERIES),
    (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, norm=nn.LayerNorm(8), enable_nested_tensor=False
        ),
        SERIES,
    ),
    (lambda: HardSharing(BagOfWords(4, buckets=9, dropout=0.2)).trunk, IDS),
    (lambda: Recurrent(4, embedding=3, buckets=9, layers=2), IDS),
    (lambda: Recurrent(4, tokenizer=Vocabulary(8).fit(["b a"])), IDS),
    (lambda: Tabular(4, layers=3, inputs=6), TABLE),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("make", "inputs"), STACKS, ids=range(len(STACKS)))
def test_a_rebuilt_module_computes_the_same(make: Callable[[], nn.Module], inputs: Tensor) -> None:
    module = make()
    made = again(module)
    assert made.training
    assert [type(each) for each in made.modules()] == [type(each) for each in module.modules()]
    assert_close(made.eval()(inputs), module.eval()(inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    "options", [{}, {"bias": False, "add_bias_kv": True}, {"kdim": 3, "vdim": 5, "batch_first": True}]
)
def test_attention_is_rebuilt(options: dict[str, Any]) -> None:
    module = nn.MultiheadAttention(8, 2, **options)
    series = [torch.randn(2, 4, size) for size in (8, options.get("kdim", 8), options.get("vdim", 8))]
    assert_close(again(module)(*series), module(*series), rtol=0, atol=0)


LOSSES = [
    nn.HuberLoss(delta=2.0),
    nn.CrossEntropyLoss(torch.tensor([1.0, 2.5, 0.1]), ignore_index=-1, label_smoothing=0.1),
]
LOSSES += [nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), nn.SmoothL1Loss(reduction="sum")]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_loss_keeps_its_weights(loss: nn.Module) -> None:
    target = torch.tensor([0, 2]) if isinstance(loss, nn.CrossEntropyLoss) else torch.rand(2, 3)
    prediction = torch.randn(2, 3)
    assert_close(rebuild(kept(describe(loss)))(prediction, target), loss(prediction, target), rtol=0, atol=0)


METRICS: list[Callable[[], torchmetrics.Metric]] = [
    lambda: R2Score(adjusted=1),
    ConcordanceCorrCoef,
    MeanAbsoluteError,
    lambda: MeanSquaredError(squared=False),
    PearsonCorrCoef,
    SpearmanCorrCoef,
    lambda: MulticlassF1Score(4, average="macro"),
    lambda: MulticlassAccuracy(4, top_k=2, average="micro", ignore_index=3),
    lambda: BinaryF1Score(threshold=0.3),
    lambda: BinaryAUROC(thresholds=50),
    lambda: BinaryAUROC(thresholds=[0.1, 0.5]),
    lambda: BinaryAUROC(max_fpr=0.5, sync_on_compute=False),
    lambda: MultilabelAveragePrecision(2, average="weighted"),
]


@pytest.mark.filterwarnings("ignore:Metric `.*` will save all targets")
@pytest.mark.parametrize("make", METRICS, ids=range(len(METRICS)))
def test_a_rebuilt_metric_counts_the_same(make: Callable[[], torchmetrics.Metric]) -> None:
    metric = make()
    made, kind = again(metric), type(metric).__name__
    prediction, target = torch.rand(30), torch.rand(30)
    if kind.startswith("Multiclass"):
        prediction, target = torch.rand(30, 4).softmax(-1), torch.randint(4, (30,))
    elif kind.startswith("Multilabel"):
        prediction, target = torch.rand(30, 2), torch.randint(2, (30, 2))
    elif kind.startswith("Binary"):
        target = torch.randint(2, (30,))
    for each in (made, metric):
        each.update(prediction, target)
    assert type(made) is type(metric)
    assert_close(made.compute(), metric.compute(), rtol=0, atol=0)
    assert made.sync_on_compute == metric.sync_on_compute


def test_a_collection_keeps_names_and_prefix() -> None:
    metrics = torchmetrics.MetricCollection(
        {"b": R2Score(), "a": MeanAbsoluteError()}, prefix="x_", compute_groups=False
    )
    made = again(metrics)
    assert list(made) == list(metrics)
    assert repr(made) == repr(metrics)


def test_a_metric_that_has_counted_is_described_like_a_fresh_one() -> None:
    metric = MulticlassF1Score(3)
    fresh = describe(metric)
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    metric.set_dtype(torch.float64)
    assert describe(metric) == fresh


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.5,
        "text",
        [1, [2.5, None]],
        {"a": {"b": [1]}},
        {},
        {"class": 1, "own": "x"},
        {"dict": {"dict": 2}},
    ],
    ids=repr,
)
def test_data_stay_what_they_are(value: object) -> None:
    made = rebuild(kept(describe(value)))
    assert made == value
    assert type(made) is type(value)


def test_odd_numbers_become_plain_ones() -> None:
    data = describe({"n": np.int64(3), "x": np.float32(0.5), "t": (1, 2), "bad": [math.nan, -math.inf]})
    assert [type(data[name]) for name in ("n", "x", "t")] == [int, float, list]
    nan, low = kept(data)["bad"]
    assert math.isnan(nan)
    assert low == -math.inf
    size: Any = np.int64(3)
    assert type(describe(nn.Linear(size, 2))["args"]["in_features"]) is int


@pytest.mark.parametrize("function", [F.l1_loss, F.gelu, F.binary_cross_entropy_with_logits, F.cosine_similarity])
def test_functions_of_torch_come_back(function: Callable[..., Tensor]) -> None:
    assert rebuild(kept(describe({"loss": function})))["loss"] is function


@pytest.mark.parametrize("tokenizer", [HashTokenizer(99, pairs=False), Vocabulary(5).fit(["b a b"]), Vocabulary(3)])
def test_a_tokenizer_comes_back(tokenizer: Any) -> None:
    made = again(tokenizer)
    assert vars(made) == vars(tokenizer)


def test_containers_keep_their_names() -> None:
    module = nn.ModuleDict({"class": nn.ModuleList([nn.Linear(1, 2), nn.Identity()]), "own": nn.Sequential()})
    assert list(again(module).state_dict()) == list(module.state_dict())


def test_frozen_parameters_stay_frozen() -> None:
    module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.GRU(2, 3), nn.Linear(2, 2))
    module[1].weight_hh_l0.requires_grad_(False)
    made = again(module)
    assert [p.requires_grad for p in made.parameters()] == [p.requires_grad for p in module.parameters()]


def test_a_tokenizer_that_is_the_trunks_own_is_held_once() -> None:
    assert describe(HardSharing(BagOfWords(4, buckets=9)))["args"]["tokenizer"] is None
    made = again(HardSharing(nn.Linear(2, 2), 2, inputs=["x"], tokenizer=Vocabulary(4).fit(["a"])))
    assert (made.inputs, made.width, made.tokenizer.known) == (("x",), 2, ["a"])
    made = again(HardSharing(BagOfWords(4, buckets=9)))
    assert made.tokenizer is made.trunk.tokenizer


def test_describing_draws_no_random_numbers() -> None:
    encoder, state = HardSharing(Recurrent(4, buckets=9)), torch.get_rng_state()
    describe([encoder, R2Score()])
    assert torch.equal(torch.get_rng_state(), state)


# What is the user's own


@pytest.mark.parametrize(
    ("value", "path", "name"),
    [
        (Shift(), "", f"{__name__}.Shift"),
        (nn.Sequential(nn.Linear(2, 2), Louder(2, 2)), "1", f"{__name__}.Louder"),
        (HardSharing(nn.Sequential(nn.Tanh(), nn.ModuleList([Shift()])), 2), "trunk.1.0", f"{__name__}.Shift"),
        (Recurrent(4, tokenizer=OwnTokenizer(9, pairs=False)), "tokenizer", f"{__name__}.OwnTokenizer"),
        ({"loss": [os.getcwd]}, "loss.0", "posix.getcwd"),
        ({"loss": partial(F.l1_loss)}, "loss", "functools.partial"),
        ({"loss": describe}, "loss", f"{describe.__module__}.describe"),
        (nn.Linear, "", "torch.nn.modules.linear.Linear"),
        ({1: 2}, "", "builtins.dict"),
        (tied(), "", "torch.nn.modules.container.Sequential"),
        (nn.Sequential(*[nn.Linear(2, 2)] * 2), "", "torch.nn.modules.container.Sequential"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "", "torch.nn.utils.parametrize.ParametrizedLinear"),
        (changed(nn.Linear(2, 2), "bias", nn.Parameter(torch.ones(7))), "", "torch.nn.modules.linear.Linear"),
        (changed(nn.LSTM(2, 2), "mode", "GRU"), "", "torch.nn.modules.rnn.LSTM"),
        (changed(MulticlassF1Score(3), "beta", 2.0), "", "torchmetrics.classification.f_beta.MulticlassF1Score"),
        (changed(BagOfWords(4, buckets=9), "drop", nn.Tanh()), "", "lightning_mtl.encoders._bag_of_words.BagOfWords"),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),  # the same for all workers
)
def test_what_is_the_users_own_is_named(value: object, path: str, name: str) -> None:
    data = kept(describe(value))
    assert custom_objects(data) == {path: name}
    with pytest.raises(ValueError, match=r"holds no code of your own, so .* Give the object itself"):
        rebuild(data)


@pytest.mark.parametrize(
    "data",
    [
        {"class": "os.system", "args": {"command": "true"}},
        {"class": "builtins.eval", "args": {}},
        {"class": "torch.nn.modules.linear.math", "args": {}},
        {"class": "torch.nn.modules.linear.Parameter", "args": {}},
        {"class": "torch.nn.modules.linear.os.system", "args": {}},
        {"class": "torch.nn.Linear", "args": {"in_features": 1, "out_features": 1}},
        {"class": "lightning_mtl.samplers.torch", "args": {}},
        {"class": "lightning_mtl.data._source.Source", "args": {"dataset": []}},
        {"class": "torchmetrics.image.fid.FrechetInceptionDistance", "args": {}},
        {"class": f"{__name__}.Shift", "args": {}},
        {"class": ["os.system"], "args": {}},
        {"class": None},
        {"function": "torch.nn.functional.torch"},
        {"function": "torch.nn.functional.boolean_dispatch"},
        {"function": "torch.nn.functional._verify_batch_size"},
        {"function": "torch.load"},
        {"function": "os.system"},
        {"class": "torch.nn.modules.linear.Linear"},
        {"class": "torch.nn.modules.linear.Linear", "args": {"in_features": 1}},
        {"class": "torch.nn.modules.linear.Linear", "args": {"in_features": 1, "out_features": 1, "evil": 1}},
        {"class": "torch.nn.modules.container.Sequential", "args": {"0": {"class": "os.system", "args": {}}}},
        {"tensor": [1], "dtype": "load"},
    ],
    ids=str,
)
def test_other_data_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"A checkpoint may hold only|damaged"):
        rebuild([{"a": data}])
