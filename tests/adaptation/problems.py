"""Small tasks to adapt, and what adapting them must give: unrolled by hand, with `torch.autograd` alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_mtl.adaptation import Adaptation, Adapting, Episode, GradientDescent, MAMLPlusPlus

Tensors = dict[str, Tensor]
Turn = Callable[[dict[str, Any], str, Tensor, int], Tensor]
CLASSES = 3


class Pupil(nn.Module):
    """A classification task as `Adapting` wants it."""

    def __init__(self, encoder: nn.Module, width: int, outputs: int = CLASSES) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({"t": nn.Linear(width, outputs)})

    def forward(self, data: Any, read: bool = False) -> Any:
        features = self.encoder(*data["inputs"].values())
        if read:
            return features
        prediction = self.heads["t"](features)
        return self.loss(prediction, data["target"]), {"prediction": prediction, "target": data["target"]}

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target)


def perceptron() -> Pupil:
    return Pupil(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh()), 4).double()


def drawn(*shape: int, episodes: int = 5, rows: int = 6, words: int = 0, seed: int = 0) -> Episode:
    """Episodes whose rows have this shape: numbers, or words out of a vocabulary; the query has a row more."""
    random = torch.Generator().manual_seed(seed)

    def part(count: int) -> dict[str, Any]:
        size = (episodes, count, *shape)
        x = torch.randint(words, size, generator=random) if words else torch.randn(size, generator=random).double()
        target = torch.stack([torch.randperm(count, generator=random) % CLASSES for _ in range(episodes)])
        return {"inputs": {"x": x}, "target": target}

    return part(rows), part(rows + 1)


def single(episodes: Episode, number: int) -> Episode:
    def of(part: Any) -> dict[str, Any]:
        return {"inputs": {k: v[number] for k, v in part["inputs"].items()}, "target": part["target"][number]}

    return of(episodes[0]), of(episodes[1])


# What must come out


def straight(memory: dict[str, Any], name: str, slope: Tensor, step: int) -> Tensor:
    return slope


def momentum(share: float) -> Turn:
    def turn(memory: dict[str, Any], name: str, slope: Tensor, step: int) -> Tensor:
        memory[name] = slope + share * memory.get(name, torch.zeros_like(slope))
        kept: Tensor = memory[name]
        return kept

    return turn


def adam(first: float, second: float, eps: float) -> Turn:
    def turn(memory: dict[str, Any], name: str, slope: Tensor, step: int) -> Tensor:
        mean, square = memory.get(name, (0.0, 0.0))
        memory[name] = mean, square = first * mean + (1 - first) * slope, second * square + (1 - second) * slope**2
        size = (square / (1 - second ** (step + 1)) + eps**2) ** 0.5 + eps
        turned: Tensor = mean / (1 - first ** (step + 1)) / size
        return turned

    return turn


def cost(pupil: nn.Module, values: Tensors, data: Any) -> Tensor:
    loss: Tensor = functional_call(pupil, values, (data,))[0]
    return loss


Cost = Callable[[nn.Module, Tensors, Any], Tensor]
Judge = Callable[[nn.Module, Tensors, Episode], Tensor]


def judged(pupil: nn.Module, values: Tensors, episode: Episode) -> Tensor:
    return cost(pupil, values, episode[1])


def unrolled(
    pupil: nn.Module,
    start: Tensors,
    episode: Episode,
    names: Sequence[str],
    rate: Callable[[str, int], Any],
    steps: int,
    *,
    second_order: bool = True,
    turn: Turn = straight,
    weights: Sequence[float] | None = None,
    judge: Judge = judged,
) -> Tensor:
    """The query's loss after some steps, or a weighted sum of it after each."""
    values, memory = dict(start), dict[str, Any]()
    told = [] if steps else [judge(pupil, values, episode)]
    for step in range(steps):
        loss = cost(pupil, values, episode[0])
        slopes = torch.autograd.grad(loss, [values[name] for name in names], create_graph=second_order)
        turned = {name: turn(memory, name, slope, step) for name, slope in zip(names, slopes, strict=True)}
        values |= {name: values[name] - rate(name, step) * turned[name] for name in names}
        told.append(judge(pupil, values, episode))
    counts = weights or [0.0] * (len(told) - 1) + [1.0]
    return sum((count * loss for count, loss in zip(counts, told, strict=True)), torch.zeros(()))


def expected(pupil: nn.Module, rule: GradientDescent, episodes: Episode, **options: Any) -> Tensors:
    """The mean meta-gradient over episodes: of parameters, and of rates by "rates." and their names."""
    trained = {name: value for name, value in pupil.named_parameters() if value.requires_grad}
    start = {name: value.detach().requires_grad_() for name, value in trained.items()}
    rates = {name: value.detach().requires_grad_() for name, value in rule.named_parameters()}
    names = [name for name in start if rule.adapts(name)]

    def rate(name: str, step: int) -> Any:
        held = rates.get("rates." + name.replace(".", "/"))
        return rule.rate if held is None else held[step] if isinstance(rule, MAMLPlusPlus) else held

    count = len(episodes[0]["target"])
    how = {"second_order": not rule.first_order, **options}
    with sdpa_kernel(SDPBackend.MATH):  # the only one with a second derivative
        losses = [unrolled(pupil, start, single(episodes, i), names, rate, rule.steps, **how) for i in range(count)]
    leaves = {**start, **rates}
    found = torch.autograd.grad(torch.stack(losses).mean(), list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def found(pupil: nn.Module, rule: Adaptation, episodes: Any, **options: Any) -> Tensors:
    """The same, by an engine: the mean over the rows of all queries."""
    outcomes = Adapting(pupil, rule, **options)(episodes, training=True)
    rows = sum(outcome.rows for outcome in outcomes)
    means: Tensors = {}
    for outcome in outcomes:
        for name, value in {**outcome.gradients, **outcome.learned}.items():
            means[name] = means.get(name, torch.zeros_like(value)) + value * (outcome.rows_each / rows)
    return means


def same(found: Tensors, expected: Tensors, tolerance: float = 1e-10) -> None:
    """Compare each tensor, relative to the largest number of all."""
    assert found.keys() == expected.keys()
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance * max(scale, 1e-300), msg=name)


class ByHand(nn.Module):
    """Batch norm written out: by the statistics of what passes; or by those that it has kept, if it is told so."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps
        self.keeps = self.uses = False
        self.kept: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        axes = [0, *range(2, x.ndim)]
        mean = x.mean(axes, keepdim=True)
        now = mean, ((x - mean) ** 2).mean(axes, keepdim=True)
        if self.keeps:
            self.kept.append(now)
        mean, variance = self.kept.pop(0) if self.uses else now
        shape = (1, -1) + (1,) * (x.ndim - 2)
        made: Tensor = (x - mean) / (variance + self.eps).sqrt() * self.weight.reshape(shape) + self.bias.reshape(shape)
        return made


def by_hand(pupil: Pupil) -> Pupil:
    """A copy whose batch norms are written out."""
    made = copy.deepcopy(pupil)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            parent, _, last = name.rpartition(".")
            made.get_submodule(parent)._modules[last] = ByHand(layer)
    return made


def by_support(pupil: nn.Module, values: Tensors, episode: Episode) -> Tensor:
    """The query's loss where batch norms use the statistics of the support."""
    layers = [layer for layer in pupil.modules() if isinstance(layer, ByHand)]
    for layer in layers:
        layer.keeps = True
    cost(pupil, values, episode[0])
    for layer in layers:
        layer.keeps, layer.uses = False, True
    loss = cost(pupil, values, episode[1])
    for layer in layers:
        layer.uses = False
    return loss
