"""Engines: episodes of many shapes, second derivatives, random numbers and precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lightning_mtl.adaptation import MAML, Adapting, Episode, MetaSGD
from tests.adaptation.problems import Pupil, Tensors, drawn, expected, found, perceptron, same, single

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])
ALL = pytest.mark.parametrize("engine", ["loop", "vmap", "auto"])


# Shapes


@ALL
@pytest.mark.parametrize("rule", [MAML(0.3, 2), MAML(0.3, 2, first_order=True)], ids=["second", "first"])
def test_episodes_of_different_sizes_count_by_their_rows(rule: MAML, engine: Any) -> None:
    pupil = perceptron()
    groups = [drawn(4, episodes=count, rows=rows, seed=rows) for count, rows in ((2, 3), (1, 9), (3, 5))]
    sizes = [part[1]["target"].numel() for part in groups]
    parts = [expected(pupil, rule, part) for part in groups]
    weighed = [(size / sum(sizes), part) for size, part in zip(sizes, parts, strict=True)]
    mean = {name: sum((share * part[name] for share, part in weighed), torch.zeros(())) for name in parts[0]}
    ragged = [single(part, i) for part in groups for i in range(len(part[0]["target"]))]
    ragged = ragged[::2] + ragged[1::2]  # not in the order of their shapes
    same(found(pupil, rule, ragged, engine=engine), mean)


class Noisy(nn.Module):
    """Features times a column of noise."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.tanh(self.first(x)) * noise


@BOTH
def test_noise_that_comes_as_a_column_is_the_same_for_all(engine: Any) -> None:
    pupil, episodes = Pupil(Noisy(), 4).double(), drawn(4)
    for part in episodes:
        x = part["inputs"]["x"]
        part["inputs"]["noise"] = (torch.rand(x.shape) < 0.5).double() * 2
    rule = MAML(0.3, 2)
    same(found(pupil, rule, episodes, engine=engine), expected(pupil, rule, episodes))


# Norms


def of_vmap(pupil: nn.Module, rule: MAML, episodes: Episode) -> Tensors:
    """The gradient of a `vmap` over episodes of what is minimised."""

    def adapted(values: Tensors, support: Any, query: Any) -> Tensor:
        slopes = grad(lambda of: functional_call(pupil, of, (support,))[0])(values)
        moved = {name: value - rule.rate * slopes[name] for name, value in values.items()}
        loss: Tensor = functional_call(pupil, moved, (query,))[0]
        return loss

    leaves: Tensors = dict(pupil.named_parameters())
    mean = vmap(adapted, (None, 0, 0))(leaves, *episodes).mean()
    return dict(zip(leaves, torch.autograd.grad(mean, list(leaves.values())), strict=True))


NORMS: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.LayerNorm(5),
    "batch": lambda: nn.BatchNorm1d(5, track_running_stats=False),
}


@pytest.mark.parametrize("norm", NORMS)
def test_second_derivatives_through_norms_are_right(norm: str) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(4, 5), NORMS[norm](), nn.Tanh()), 5).double()
    for value in pupil.encoder.parameters():
        nn.init.normal_(value)
    rule, episodes = MAML(0.5), drawn(4)
    right = expected(pupil, rule, episodes)
    same(found(pupil, rule, episodes, engine="vmap"), right)
    if torch.__version__.startswith("2.13"):  # a later one may have mended it
        naive = of_vmap(pupil, rule, episodes)
        apart = max(float((naive[name] - value).abs().max() / value.abs().max()) for name, value in right.items())
        assert apart > 1e-4, "the gradient of a vmap is right here: `Mapped` need not avoid it"


# Dropout, attention, precision


@BOTH
def test_dropout_differs_between_episodes_and_is_for_training(engine: Any) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5)), 16).double()
    equal = pytree.tree_map(lambda x: x[:1].expand(6, *x.shape[1:]).clone(), drawn(4))
    for rule in (MAML(0.3, 2), MAML(0.3, 2, first_order=True)):
        (outcome,) = Adapting(pupil.train(), rule, engine=engine)(equal, training=True)
        assert len(set(torch.cat(outcome.losses).tolist())) == 6
        (outcome,) = Adapting(pupil.eval(), rule, engine=engine)(equal, training=False)
        losses = torch.cat(outcome.losses)
        torch.testing.assert_close(losses, losses[:1].expand(6))


class Attending(nn.Module):
    """Attention by torch; or written out."""

    def __init__(self, written: bool) -> None:
        super().__init__()
        self.parts, self.written = nn.Linear(4, 12), written

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.parts(x).unsqueeze(1).chunk(3, -1)  # fused only with an axis of heads
        if self.written:
            mean: Tensor = ((query @ key.mT / 2).softmax(-1) @ value).mean((1, 2))
            return mean
        return F.scaled_dot_product_attention(query, key, value).mean((1, 2))


@ALL
@pytest.mark.parametrize("first_order", [False, True])
def test_attention_has_second_derivatives(engine: Any, first_order: bool) -> None:
    pupil, written = (Pupil(Attending(of), 4).double() for of in (False, True))
    written.load_state_dict(pupil.state_dict())
    rule, episodes = MAML(0.5, 2, first_order=first_order), drawn(3, 4, episodes=8)
    same(found(pupil, rule, episodes, engine=engine), expected(written, rule, episodes))


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_autocast_is_near_to_full_precision(engine: Any) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh()), 8)
    episodes = pytree.tree_map(lambda x: x.float() if x.is_floating_point() else x, drawn(4, episodes=8))
    rule = MetaSGD(0.3, 2)
    rule.build(dict(pupil.named_parameters()))
    full = expected(pupil, rule, episodes)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("ignore")  # it may say that it goes one after another
        given = found(pupil, rule, episodes, engine=engine)
    assert all(value.dtype == torch.float32 and bool(value.isfinite().all()) for value in given.values())
    same(given, full, 0.1)
