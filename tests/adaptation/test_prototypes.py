"""Prototypical networks: the head as a function of the support."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl import Binary, HardSharing, MetaLearningModule, Multiclass, Multilabel, Regression, Task
from lightning_mtl.adaptation import ProtoNet
from lightning_mtl.heads import Head

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])


def network(head: Head, engine: Any = "auto") -> MetaLearningModule:
    trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6))
    tasks = [Task("t", head=head)]
    return MetaLearningModule(tasks, HardSharing(trunk, width=6), adaptation=ProtoNet(), engine=engine).double()


def batch(classes: int, episodes: int = 3, each: int = 2) -> dict[str, Any]:
    target = torch.arange(classes).repeat(each).expand(episodes, -1).clone()

    def part() -> dict[str, Tensor]:
        return {"x": torch.randn(episodes, classes * each, 4).double(), "t": target}

    return {"s": {"support": part(), "query": part()}}


def distances(module: MetaLearningModule, episodes: dict[str, Any]) -> Tensor:
    """Minus the squared distances of the queries to the means of the classes: [episodes, rows, classes]."""
    trunk: Any = module.encoder.trunk
    support, query = (trunk(episodes["s"][part]["x"]) for part in ("support", "query"))
    target = episodes["s"]["support"]["t"]
    means: Tensor = torch.stack(
        [torch.stack([rows[labels == number].mean(0) for number in labels.unique()]) for rows, labels in zip(support, target, strict=True)]
    )  # fmt: skip
    away: Tensor = -((query.unsqueeze(2) - means.unsqueeze(1)) ** 2).sum(-1)
    return away


@BOTH
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_logits_are_distances_to_the_means_of_classes(classes: int, engine: Any) -> None:
    module, episodes = network(Multiclass(classes), engine).eval(), batch(classes)
    to = distances(module, episodes)
    differ = module.run(episodes).results[0].prediction.reshape(to.shape) - to
    assert_close(differ, differ[..., :1].expand_as(differ))  # by one number in each row


@BOTH
def test_yes_is_nearer_to_the_mean_of_the_yeses(engine: Any) -> None:
    module, episodes = network(Binary(), engine).eval(), batch(2)
    to = distances(module, episodes)
    logits = module.run(episodes).results[0].prediction
    assert_close(logits, (to[..., 1] - to[..., 0]).flatten())


@BOTH
@pytest.mark.parametrize("head", [Multiclass(4), Binary()], ids=["classes", "binary"])
def test_gradients_are_those_of_the_formula_and_reach_the_encoder_alone(head: Head, engine: Any) -> None:
    classes = 4 if isinstance(head, Multiclass) else 2
    module, episodes = network(head, engine), batch(classes)
    (loss,) = module.run(episodes).losses
    torch.autograd.backward(loss)
    logits = distances(module, episodes).flatten(0, 1)
    formula = F.cross_entropy(logits, episodes["s"]["query"]["t"].flatten())
    assert_close(loss.detach(), formula.detach())
    trunk = list(module.encoder.parameters())
    right = torch.autograd.grad(formula, trunk)
    for value, expected in zip(trunk, right, strict=True):
        assert_close(value.grad, expected, rtol=0, atol=1e-10)
    assert all(value.grad is None for value in module.heads.parameters())


@BOTH
def test_what_the_head_was_does_not_matter(engine: Any) -> None:
    module, episodes = network(Multiclass(3), engine), batch(3)
    before = module.run(episodes).losses[0].detach()
    for value in module.heads.parameters():
        nn.init.normal_(value)
    assert torch.equal(module.run(episodes).losses[0].detach(), before)


@BOTH
def test_order_of_the_support_is_irrelevant(engine: Any) -> None:
    module, episodes = network(Multiclass(3), engine).eval(), batch(3)
    logits = module.run(episodes).results[0].prediction
    order = torch.randperm(6)
    episodes["s"]["support"] = {name: value[:, order] for name, value in episodes["s"]["support"].items()}
    assert_close(module.run(episodes).results[0].prediction, logits)


DEEP = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
REFUSED = {
    "numbers": Regression(),
    "labels": Multilabel(3),
    "layers": Multiclass(3, layers=DEEP),
    "bias": Multiclass(3, layers=nn.Linear(6, 3, bias=False)),
}


@pytest.mark.parametrize("head", REFUSED)
def test_a_head_that_does_not_suit_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match=r"`head` of task 't' must be Multiclass or Binary .* Use another adaptation"):
        network(REFUSED[head])
