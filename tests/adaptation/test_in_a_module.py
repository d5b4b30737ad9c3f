"""Adaptation in a module: its gradients, and how they reach the parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl import HardSharing, MetaLearningModule, Regression, Tagging, Task
from lightning_mtl.adaptation import MAML, MAMLPlusPlus, MetaSGD, Reptile, carried
from tests.adaptation.problems import drawn, expected, same, single

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])


class Bent(nn.Module):
    """A loss with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bend = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor([0.3, 0.2]))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        apart = prediction - target
        return F.softplus(self.scale) * (self.bend[0] * apart**2 + self.bend[1] * apart**4).mean()


class Written(nn.Module):
    """What the module's task must be."""

    def __init__(self, module: MetaLearningModule) -> None:
        super().__init__()
        held = copy.deepcopy(module)
        self.encoder, self.heads, self.losses = held.encoder, held.heads, held.losses

    def forward(self, data: Any) -> Any:
        encoder, head, loss = (cast(Any, of) for of in (self.encoder, self.heads["t"], self.losses["t"]))
        features = encoder.trunk(data["inputs"]["x"])
        return (loss(head.layers(features).squeeze(-1), data["target"]),)


Made = Callable[[], MAML | MetaSGD | MAMLPlusPlus]
MADE: dict[str, Made] = {
    "maml": lambda: MAML(0.1, 2),
    "first-order": lambda: MAML(0.1, 2, first_order=True),
    "anil": lambda: MAML(0.1, 2, adapted="head"),
    "loss": lambda: MAML(0.1, 2, adapted=["losses.*", "heads.*"]),
    "rates": lambda: MetaSGD(0.1, 2),
    "steps": lambda: MAMLPlusPlus(0.1, 2, multi_step_epochs=0),
}


@BOTH
@pytest.mark.parametrize("rule", MADE)
@pytest.mark.parametrize("listed", [False, True])
def test_a_modules_gradients_are_what_unrolling_gives(rule: str, engine: Any, listed: bool) -> None:
    encoder = HardSharing(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), width=3)
    tasks = [Task("t", head=Regression(), loss=Bent())]
    module = MetaLearningModule(tasks, encoder, adaptation=MADE[rule](), engine=engine).double()
    episodes = drawn(4)
    right = expected(Written(module), module.adaptation, episodes)  # type: ignore[arg-type]

    def columns(part: Any) -> dict[str, Tensor]:
        return {"x": part["inputs"]["x"], "t": part["target"].double()}

    def batch(of: Any) -> dict[str, Any]:
        return {"support": columns(of[0]), "query": columns(of[1])}

    given = [batch(single(episodes, i)) for i in range(5)] if listed else batch(episodes)
    (loss,) = module.run({"s": given}).losses
    torch.autograd.backward(loss)
    held = {name.removeprefix("adaptation."): value.grad for name, value in module.named_parameters()}
    same({name: value for name, value in held.items() if value is not None}, right)


@pytest.mark.parametrize("minibatch", [None, 2, 4])
def test_reptile_learns_from_the_words_that_have_labels(minibatch: int | None) -> None:
    encoder = HardSharing(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), width=5)
    rule = Reptile(0.1, 4, minibatch=minibatch)
    module = MetaLearningModule([Task("t", head=Tagging(3))], encoder, adaptation=rule).double()
    x, target = torch.randn(6, 4, 4).double(), torch.randint(0, 3, (6, 4))
    target[1, 2:], target[4, :3] = -100, -100
    written: Any = copy.deepcopy(nn.ModuleDict({"encoder": module.encoder, "heads": module.heads}))
    outer = torch.optim.SGD(written.parameters(), lr=0.1)
    for step in range(4):
        places = [(step * minibatch + i) % 6 for i in range(minibatch)] if minibatch else list(range(6))
        rows = [[1, 3, 5, 0, 2, 4][place] for place in places]  # support and query are every second row
        outer.zero_grad()
        words = written.heads["t"].layers(written.encoder.trunk(x[rows])).flatten(0, 1)
        torch.autograd.backward(F.cross_entropy(words, target[rows].flatten()))
        outer.step()
    start = dict(module.named_parameters())
    right = {name: (start[name].detach() - value.detach()) / 0.1 for name, value in written.named_parameters()}
    torch.autograd.backward(module.run({"s": {"x": x, "t": target}}).losses[0])
    same({name: value.grad for name, value in start.items() if value.grad is not None}, right)


# Carried


def test_carried_gradients_are_scaled_and_add_up_as_any() -> None:
    weight, bias, other = (nn.Parameter(torch.randn(size)) for size in (3, 2, 2))
    gradients = {"weight": torch.randn(3), "bias": torch.randn(2)}
    loss = carried(torch.tensor(5.0), gradients, {"weight": weight, "bias": bias, "other": other})
    assert loss.item() == 5
    assert loss.requires_grad
    torch.autograd.backward(3 * loss, retain_graph=True)
    torch.autograd.backward(loss / 2 + (other * bias).sum(), retain_graph=True)
    torch.autograd.backward(loss)
    assert_close(weight.grad, 4.5 * gradients["weight"])
    assert_close(bias.grad, 4.5 * gradients["bias"] + other.detach())
    assert_close(other.grad, bias.detach())


def test_carried_gradients_are_not_changed_by_what_is_done_to_grad() -> None:
    weight, gradient = nn.Parameter(torch.randn(3)), torch.randn(3)
    before = gradient.clone()
    loss = carried(torch.tensor(1.0), {"weight": gradient}, {"weight": weight})
    for _ in range(2):
        torch.autograd.backward(loss, retain_graph=True)
    assert weight.grad is not None
    weight.grad.zero_()
    assert torch.equal(gradient, before)


def test_carried_gradients_take_the_type_of_their_parameters() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    torch.autograd.backward(carried(torch.tensor(1.0), {"weight": torch.ones(3).double()}, {"weight": weight}))
    assert weight.grad is not None
    assert weight.grad.dtype == torch.bfloat16


def test_without_gradients_a_loss_stays_what_it_is() -> None:
    loss = torch.tensor(2.0)
    assert carried(loss, {}, {}) is loss


def test_carried_gradients_can_be_asked_for_one_by_one() -> None:
    weight, bias = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(2))
    gradients = {"weight": torch.randn(3), "bias": torch.randn(2)}
    loss = carried(torch.tensor(1.0), gradients, {"weight": weight, "bias": bias})
    (given,) = torch.autograd.grad(2 * loss, [bias])
    assert_close(given, 2 * gradients["bias"])
    assert weight.grad is None
