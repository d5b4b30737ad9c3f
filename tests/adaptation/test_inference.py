"""Adaptation where nothing is trained, and the statistics of norms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_mtl.adaptation import MAML, NORMS, Adapting, Episode, GradientDescent, MAMLPlusPlus, MetaSGD, Reptile
from tests.adaptation.problems import (
    Judge,
    Pupil,
    by_hand,
    by_support,
    drawn,
    expected,
    found,
    judged,
    perceptron,
    same,
)

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])
EVERY = pytest.mark.parametrize("norm", NORMS)


class Normed(nn.Module):
    """Norms over rows, and within them; one of them twice."""

    def __init__(self, track: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(2, 3, 2), nn.Conv1d(3, 3, 2)
        self.outer = nn.BatchNorm1d(3, track_running_stats=track)
        self.inner = nn.InstanceNorm1d(3, affine=True, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.outer(self.first(x)))
        return torch.tanh(self.outer(self.inner(self.last(x)))).mean(2)


def normed(track: bool = True) -> Pupil:
    pupil = Pupil(Normed(track), 3).double()
    for value in pupil.parameters():
        nn.init.normal_(value)
    for name, held in pupil.named_buffers():
        if name.endswith(("mean", "var")):
            nn.init.uniform_(held, 0.5, 2)
    return pupil


# Norms


@BOTH
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(("norm", "judge"), [("transductive", judged), ("episode", by_support)])
@pytest.mark.parametrize("training", [True, False])
def test_norms_within_rows_and_one_used_twice_are_what_they_are(
    engine: Any, norm: Any, judge: Judge, first_order: bool, training: bool
) -> None:
    pupil, rule, episodes = normed().train(training), MAML(0.2, 2, first_order=first_order), drawn(2, 6)
    written = by_hand(pupil)
    encoder: Any = written.encoder
    encoder.inner = nn.InstanceNorm1d(3, affine=True).double()
    encoder.inner.load_state_dict(pupil.encoder.inner.state_dict(), strict=False)  # type: ignore[union-attr]
    right = expected(written, rule, episodes, judge=judge)
    same(found(pupil, rule, episodes, engine=engine, norm=norm), right)


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_those_that_the_model_came_with(engine: Any, training: bool) -> None:
    pupil, rule, episodes = normed(), MAML(0.2, 2), drawn(2, 6)
    right = expected(copy.deepcopy(pupil).eval(), rule, episodes)
    same(found(pupil.train(training), rule, episodes, engine=engine, norm="running"), right)


@BOTH
@pytest.mark.parametrize("affine", [False, True])
def test_queries_by_the_supports_statistics_do_not_depend_on_each_other(engine: Any, affine: bool) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=affine), nn.Tanh()), 5).double()
    support, query = drawn(4)
    alone = pytree.tree_map(lambda x: x[:, :1], query)
    adapter = Adapting(pupil, MAML(0.3, 2), engine=engine)
    whole, one = (adapter((support, of), training=False)[0].joined()["prediction"] for of in (query, alone))
    torch.testing.assert_close(whole[:, :1], one)
    adapter = Adapting(pupil, MAML(0.3, 2), engine=engine, norm="transductive")
    others = pytree.tree_map(lambda x: x[:, :2], query)
    assert not torch.allclose(adapter((support, others), training=False)[0].joined()["prediction"][:, :1], one)


@BOTH
@EVERY
@pytest.mark.parametrize(("steps", "mode"), [(0, False), (2, False), (2, True)])
def test_buffers_and_parameters_stay_bit_equal(engine: Any, norm: Any, steps: int, mode: bool) -> None:
    pupil = normed().train(mode)
    before = copy.deepcopy(pupil.state_dict())
    adapter = Adapting(pupil, MAML(0.2, steps), engine=engine, norm=norm)
    for training in (True, False):
        adapter(drawn(2, 6), training=training)
    after = pupil.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all("forward" not in vars(layer) for layer in pupil.modules())
    assert all(value.grad is None for value in pupil.parameters())


# Inference

GUARDS: dict[str, Callable[[], Any]] = {"inference": torch.inference_mode, "no_grad": torch.no_grad}
CASES: list[tuple[Callable[[], GradientDescent], Callable[[], Pupil], Any]] = [
    (lambda: MAML(0.2, 2), normed, (2, 6)),
    (lambda: MAML(0.2, first_order=True), perceptron, (4,)),
    (lambda: MAMLPlusPlus(0.2, 2), perceptron, (4,)),
    (lambda: Reptile(0.2, 2), perceptron, (4,)),
]


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("case", CASES, ids=["norms", "first-order", "rates", "reptile"])
@pytest.mark.parametrize("engine", ["loop", "vmap", "auto"])
def test_a_guard_against_gradients_changes_nothing(guard: str, case: Any, engine: Any) -> None:
    made, network, shape = case
    pupil, rule = network(), made().double()
    rule.build(dict(pupil.named_parameters()))
    adapter = Adapting(pupil, rule, engine=engine)
    outside = results(adapter, drawn(*shape, episodes=8))
    with GUARDS[guard]():
        within = results(adapter, drawn(*shape, episodes=8))
        assert not torch.is_grad_enabled()
    for one, other in zip(outside, within, strict=True):
        assert torch.equal(one, other)


def results(adapter: Adapting, episodes: Episode) -> list[Tensor]:
    made = []
    for training in (False, True):
        (outcome,) = adapter(episodes, training=training)
        made += [*outcome.losses, *outcome.joined().values(), *outcome.gradients.values(), *outcome.learned.values()]
    return made


@BOTH
def test_tensors_of_inference_mode_can_be_learned_from_outside(engine: Any) -> None:
    with torch.inference_mode():
        episodes = drawn(4)
    rule = MAML(0.3, 2)
    pupil = perceptron()
    same(found(pupil, rule, episodes, engine=engine), expected(pupil, rule, drawn(4)))


@BOTH
@pytest.mark.parametrize("rule", [MAML(0.3, 3), MAML(0.3, 3, evaluation_steps=5), MetaSGD(0.3, 3)], ids=str)
def test_every_step_is_told(rule: Any, engine: Any) -> None:
    rule, pupil, episodes = copy.deepcopy(rule), perceptron(), drawn(4)
    rule.build(dict(pupil.named_parameters()))
    adapter = Adapting(pupil, rule, engine=engine, chunk=2)
    (told,) = adapter(episodes, training=False, every=True)
    trail, steps = torch.cat(told.losses), rule.count(False)
    assert trail.shape == (5, steps + 1)
    for taken in range(steps + 1):
        rule.evaluation_steps = taken
        (outcome,) = adapter(episodes, training=False)
        torch.testing.assert_close(trail[:, taken], torch.cat(outcome.losses))
        torch.testing.assert_close(told.joined()["prediction"][:, taken], outcome.joined()["prediction"])


@BOTH
def test_telling_every_step_changes_no_gradient(engine: Any) -> None:
    pupil, rule, episodes = perceptron(), MAMLPlusPlus(0.3, 3), drawn(4)
    rule.at_epoch(9)
    rule.build(dict(pupil.named_parameters()))
    adapter = Adapting(pupil, rule, engine=engine)
    (told,), (quiet,) = (adapter(episodes, training=True, every=every) for every in (True, False))
    same(told.gradients | told.learned, quiet.gradients | quiet.learned, 1e-13)


@BOTH
def test_steps_beyond_those_trained_have_the_last_ones_rates(engine: Any) -> None:
    pupil, rule, episodes = perceptron(), MAMLPlusPlus(0.1, 2, evaluation_steps=4).double(), drawn(4)
    rule.build(dict(pupil.named_parameters()))
    for rate in rule.parameters():
        rate.data = torch.tensor([0.1, 0.2]).double()
    (outcome,) = Adapting(pupil, rule, engine=engine)(episodes, training=False)
    longer = MAMLPlusPlus(0.1, 4, multi_step_epochs=0).double()
    longer.build(dict(pupil.named_parameters()))
    for rate in longer.parameters():
        rate.data = torch.tensor([0.1, 0.2, 0.2, 0.2]).double()
    (other,) = Adapting(pupil, longer, engine=engine)(episodes, training=False)
    torch.testing.assert_close(outcome.total(), other.total())
