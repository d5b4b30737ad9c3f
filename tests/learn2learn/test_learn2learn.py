"""learn2learn's meta-gradients are ours, its learners train in our modules, and its task sets feed them.

What needs the real package is skipped where it is not installed; .ci/learn2learn installs it.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl import HardSharing, MetaLearningModule, Multiclass, Regression, Task
from lightning_mtl.adaptation import ANIL, MAML, SGD, Adaptation, Cloning, MetaSGD, Reptile
from lightning_mtl.learn2learn import episodes_of_taskset, from_learn2learn, to_learn2learn
from tests.conftest import TrainerMaker
from tests.learn2learn.stand_ins import standing_in
from tests.oracles.make_learn2learn import (
    CASES,
    FILE,
    RATE,
    learner_of,
    looped,
    network,
    problem,
    started,
    tensors,
    theirs,
)

GOLDEN = json.loads(FILE.read_text())
INSTALLED = importlib.util.find_spec("learn2learn") is not None
# Its MetaSGD reads `.grad` of what is no leaf.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(scope="module")
def l2l() -> Any:
    """The real package."""
    with standing_in():
        return pytest.importorskip("learn2learn")


# Small problems


def batch_of(of: dict[str, Any]) -> dict[str, Any]:
    parts = {
        name: dict(zip("xy", tensors([part["x"], part["y"]]), strict=True)) for name, part in of["episodes"].items()
    }
    return {"points": parts}


def rule_of(case: dict[str, Any]) -> Adaptation:
    how = {"steps": case["steps"], "first_order": case["first_order"]}
    rules = {"MAML": MAML, "ANIL": ANIL}
    return MetaSGD(**how) if case["rule"] == "MetaSGD" else rules[case["rule"]](RATE, **how)


def gradients(module: MetaLearningModule, of: dict[str, Any]) -> list[Tensor]:
    """Give the module's meta-gradients, of all its parameters in their order."""
    module.zero_grad()
    torch.autograd.backward(module.run(batch_of(of)).losses[0])
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]


def ours(case: dict[str, Any], of: dict[str, Any], engine: Any) -> list[Tensor]:
    net = started(of)
    task = Task("y", head=Regression(layers=net[2]))
    module = MetaLearningModule([task], HardSharing(net[:2], width=3), adaptation=rule_of(case), engine=engine)
    if case["rule"] == "MetaSGD":
        for rate, value in zip(module.adaptation.parameters(), tensors(of["rates"]), strict=True):
            rate.data = value
    return gradients(module, of)


def same(found: list[Tensor], expected: list[Any]) -> None:
    assert_close(
        [each.flatten() for each in found],
        [torch.as_tensor(e, dtype=torch.float64).flatten() for e in expected],
        rtol=0,
        atol=1e-10,
    )


class OwnLearner(nn.Module):
    """A learner that knows nothing of learn2learn: a line whose clones take plain gradient steps and count them."""

    def __init__(self, rate: float = RATE) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1, 1))
        self.offset = nn.Parameter(torch.zeros(1))
        self.rate = rate
        self.taken = 0

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.slope, self.offset)

    def clone(self) -> OwnLearner:
        made = type(self)(self.rate)
        made._set({name: value.clone() for name, value in self.named_parameters()})
        return made

    def adapt(self, loss: Tensor) -> None:
        held = dict(self.named_parameters())
        found = torch.autograd.grad(loss, list(held.values()), create_graph=True)
        self._set({name: held[name] - self.rate * g for name, g in zip(held, found, strict=True)})
        self.taken += 1

    def _set(self, values: dict[str, Any]) -> None:
        self._parameters.update(values)


def lines(steps: int = 20) -> Any:
    """Batches of eight lines of slope and offset around 2 and 1."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for _ in range(steps):
        slope, offset = (around + 0.1 * torch.randn(8, 1, generator=draw) for around in (2.0, 1.0))
        x = {name: torch.randn(8, 5, 1, generator=draw) for name in ("support", "query")}
        made.append({"lines": {name: {"x": of, "y": slope * of[..., 0] + offset} for name, of in x.items()}})
    return torch.utils.data.DataLoader(made, batch_size=None)  # type: ignore[arg-type]


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.02)  # small enough for the rates of MetaSGD


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


# Theorems


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("name", GOLDEN["gradients"])
def test_meta_gradients_are_those_that_learn2learn_gave(name: str, engine: Any) -> None:
    same(ours(CASES[name], GOLDEN["problem"], engine), GOLDEN["gradients"][name])


def test_all_cases_were_written() -> None:
    assert GOLDEN["gradients"].keys() == CASES.keys()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_meta_gradients_are_those_of_learn2learn(name: str, seed: int, l2l: Any) -> None:
    of = problem(seed)
    same(ours(CASES[name], of, "loop"), theirs(l2l, CASES[name], of))


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("name", CASES)
def test_a_learner_of_theirs_has_the_same_gradients_in_a_module(name: str, engine: Any, l2l: Any) -> None:
    case, of = CASES[name], problem(seed=1)
    net = started(of)
    learner = learner_of(l2l, net, case, of)
    encoder = HardSharing(net[:2], width=3) if case["rule"] == "ANIL" else None
    module = from_learn2learn(learner, encoder=encoder, steps=case["steps"], engine=engine)
    held = {id(p) for p in module.parameters()}
    assert held == {id(p) for p in [*net.parameters(), *(learner.lrs if case["rule"] == "MetaSGD" else [])]}
    same(gradients(module, of), theirs(l2l, case, of))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["rule"] != "ANIL"])
def test_a_module_has_the_same_gradients_as_a_learner_of_theirs(name: str, l2l: Any) -> None:
    case, of = CASES[name], problem(seed=2)
    net = started(of)
    task = Task("y", head=Regression(layers=net[2]))
    module = MetaLearningModule([task], HardSharing(net[:2], width=3), adaptation=rule_of(case))
    expected = [each.clone() for each in gradients(module, of)]
    learner = to_learn2learn(module)
    assert isinstance(learner, getattr(l2l.algorithms, case["rule"]))
    assert {id(p) for p in learner.parameters()} == {id(p) for p in module.parameters()}
    module.zero_grad()
    torch.autograd.backward(looped(learner, nn.Identity(), case["steps"], of))
    found: list[Any] = [p.grad for p in module.parameters()]
    same(found, expected)


def test_batch_norms_normalise_as_in_a_learner_of_theirs_and_keep_their_statistics(l2l: Any) -> None:
    of = problem(seed=4)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    learner = l2l.algorithms.MAML(net, lr=RATE)
    module = from_learn2learn(learner, steps=2)
    statistics = {name: value.clone() for name, value in net.named_buffers()}
    found = [each.clone() for each in gradients(module, of)]
    assert_close(dict(net.named_buffers()), statistics, rtol=0, atol=0)
    same(found, list(torch.autograd.grad(looped(learner, nn.Identity(), 2, of), list(net.parameters()))))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_learner_that_adapts_itself_has_the_gradients_of_the_rule_that_it_follows(steps: int) -> None:
    of = problem(seed=3)
    of["episodes"] = {
        name: {"x": [[row[:1] for row in each] for each in part["x"]], "y": part["y"]}
        for name, part in of["episodes"].items()
    }
    line = nn.Linear(1, 1).double()
    learner = OwnLearner().double()
    with torch.no_grad():
        learner.slope.copy_(line.weight)
        learner.offset.copy_(line.bias)
    task = Task("y", head=Regression())
    plain = from_learn2learn(SimpleNamespace(module=line, lr=RATE, first_order=False), [task], steps=steps)
    module = from_learn2learn(learner, [task], steps=steps)
    same(gradients(module, of), gradients(plain, of))
    trails = [each.by_step(batch_of(of))["y"] for each in (module, plain)]
    assert_close(trails[0].losses, trails[1].losses, rtol=0, atol=1e-10)
    assert len(trails[0].losses) == steps + 1
    assert learner.taken == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_first_examples_of_each_class_are_the_support_and_the_others_the_query(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randperm(12, generator=draw) % 3 + 5
    drawn = SimpleNamespace(sample=lambda: (torch.arange(12.0).unsqueeze(1), labels))
    (batch,) = episodes_of_taskset(drawn, shots=2, source="s", columns=("row", "kind"), episodes=1, steps=1)
    (episode,) = batch["s"]
    rows = {name: part["row"].squeeze(1).long() for name, part in episode.items()}
    assert sorted(torch.cat(list(rows.values())).tolist()) == list(range(12))
    for name, part in episode.items():
        assert_close(labels[rows[name]], part["kind"])
        assert torch.bincount(part["kind"])[5:].tolist() == [2, 2, 2]
    for kind in (5, 6, 7):
        first, later = (rows[name][episode[name]["kind"] == kind] for name in ("support", "query"))
        assert first.max() < later.min()


@pytest.mark.parametrize("seed", range(3))
def test_support_and_query_are_those_of_partition_task(seed: int, l2l: Any) -> None:
    draw = torch.Generator().manual_seed(seed)
    examples, labels = torch.randn(20, 3, generator=draw), torch.randperm(20, generator=draw) % 4
    drawn = SimpleNamespace(sample=lambda: (examples, labels))
    (batch,) = episodes_of_taskset(drawn, shots=2, episodes=1, steps=1)
    parted = l2l.data.partition_task(examples, labels, shots=2)
    for name, (x, y) in zip(("support", "query"), parted, strict=True):
        assert_close(batch["tasks"][0][name], {"x": x, "y": y})


# Cases


def test_nothing_imports_learn2learn(l2l: Any) -> None:
    code = "import sys, lightning_mtl.learn2learn as own; assert 'learn2learn' not in sys.modules; assert own.__file__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_predicted_is_told_from_the_last_layer() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    module = from_learn2learn(SimpleNamespace(module=net, lr=0.1, first_order=True), evaluation_steps=7)
    assert isinstance(module.tasks[0].head, Multiclass)
    assert module.tasks[0].head.outputs == 4
    rule: Any = module.adaptation
    assert (type(rule), rule.rate, rule.first_order, rule.evaluation_steps) == (MAML, 0.1, True, 7)


def test_what_theirs_does_not_have_is_refused() -> None:
    def made(rule: Any, count: int = 1, loss: Any = None) -> MetaLearningModule:
        tasks = [Task(f"y{i}", head=Regression(), loss=loss) for i in range(count)]
        return MetaLearningModule(tasks, HardSharing(nn.Linear(1, 3), width=3), adaptation=rule)

    class Weighed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            return self.weight * F.mse_loss(prediction, target)

    for rule in (ANIL(), Reptile(), MAML(optimizer=SGD(momentum=0.9))):
        with pytest.raises(ValueError, match="`adaptation` must be MAML or MetaSGD"):
            to_learn2learn(made(rule))
    with pytest.raises(ValueError, match="must have one task"):
        to_learn2learn(made(MAML(), count=2))
    with pytest.raises(ValueError, match=r"All parameters .* must adapt"):
        to_learn2learn(made(MAML(adapted="encoder")))
    with pytest.raises(ValueError, match=r"All parameters .* must adapt"):
        to_learn2learn(made(MAML(), loss=Weighed()))


@pytest.mark.skipif(INSTALLED, reason="learn2learn is here")
def test_it_is_told_how_learn2learn_is_installed() -> None:
    module = MetaLearningModule([Task("y", head=Regression())], HardSharing(nn.Linear(1, 3), width=3))
    with pytest.raises(ModuleNotFoundError, match=r"'learn2learn' is missing.*README.md#learn2learn"):
        to_learn2learn(module)


def test_frozen_parameters_stay_in_a_learner_of_theirs(l2l: Any) -> None:
    trunk = nn.Linear(1, 3).requires_grad_(False)
    module = MetaLearningModule([Task("y", head=Regression())], HardSharing(trunk, width=3))
    clone = to_learn2learn(module).clone()
    x = torch.ones(4, 1)
    before = clone(x)
    clone.adapt(before.square().mean())
    assert clone(x).square().mean() < before.square().mean()
    with pytest.raises(ValueError, match="2 of them frozen"):
        to_learn2learn(
            MetaLearningModule([Task("y", head=Regression())], HardSharing(trunk, width=3), adaptation=MetaSGD())
        )


def test_what_is_no_learner_is_refused() -> None:
    net = network()
    maml = SimpleNamespace(module=net, lr=0.1, first_order=False)
    for learner in (net, SimpleNamespace(clone=print, adapt=print)):
        with pytest.raises(TypeError, match="`learner` must be MAML or MetaSGD of learn2learn, or"):
            from_learn2learn(learner)
    with pytest.raises(ValueError, match="`tasks` must be given for Identity"):
        from_learn2learn(SimpleNamespace(module=nn.Identity(), lr=0.1, first_order=False))
    with pytest.raises(ValueError, match="`head` of task 'y' must have no layers"):
        from_learn2learn(maml, [Task("y", head=Regression(layers=nn.Linear(1, 1)))])
    two = [Task(name, head=Regression()) for name in "ab"]
    with pytest.raises(ValueError, match="`tasks` must be one if an `encoder` is given"):
        from_learn2learn(maml, two, encoder=HardSharing(nn.Identity(), width=2))
    with pytest.raises(ValueError, match="`engine` must be 'loop'"):
        from_learn2learn(OwnLearner(), [Task("y", head=Regression())], engine="vmap")
    with pytest.raises(ValueError, match="`learner` must be a part of the model"):
        MetaLearningModule([Task("y", head=Regression())], HardSharing(net, width=1), adaptation=Cloning("trunk"))
    with pytest.raises(ValueError, match="`steps` must be a whole number"):
        Cloning("encoder.trunk", steps=-1)


def test_clones_that_lead_no_gradient_back_are_refused() -> None:
    class Copied(OwnLearner):
        def clone(self) -> OwnLearner:
            return copy.deepcopy(self)

    class Itself(OwnLearner):
        def clone(self) -> OwnLearner:
            return self

    for kind in (Copied, Itself):
        module = from_learn2learn(kind(), [Task("y", head=Regression())])
        with pytest.raises(ValueError, match=f"`clone\\(\\)` of {kind.__name__} must return another module"):
            module.run(next(iter(lines(1))))


def test_a_class_without_a_query_is_refused() -> None:
    drawn = SimpleNamespace(sample=lambda: (torch.ones(5, 1), torch.tensor([0, 0, 0, 1, 1])))
    with pytest.raises(ValueError, match="`shots` must leave examples of each class for the query, got 2 of 2"):
        next(iter(episodes_of_taskset(drawn, shots=2)))
    with pytest.raises(ValueError, match="`shots` must be a whole number of at least 1, got 0"):
        episodes_of_taskset(drawn, shots=0)


# Runs


@pytest.mark.parametrize("order", [pytest.param("whole", marks=pytest.mark.slow), "head"])
def test_a_learner_that_adapts_itself_trains_in_a_trainer(order: str, trainer: TrainerMaker, tmp_path: Path) -> None:
    learner, task = OwnLearner(), Task("y", head=Regression())
    encoder = HardSharing(nn.Linear(1, 1), width=1) if order == "head" else None
    module = from_learn2learn(learner, [task], encoder=encoder, steps=2, optimizer=sgd)
    run = trainer(max_epochs=5)
    before = run.validate(module, lines(), verbose=False)[0]["validate/y/loss"]
    run.fit(module, lines(), lines(4))
    assert run.validate(module, lines(), verbose=False)[0]["validate/y/loss"] < 0.1 * before
    assert learner.slope.item() != 0
    assert learner.taken == 0
    run.save_checkpoint(tmp_path / "it.ckpt")
    if order == "whole":
        loaded = MetaLearningModule.load_from_checkpoint(
            tmp_path / "it.ckpt", encoder=HardSharing(OwnLearner(), width=1)
        )
        assert isinstance(loaded.adaptation, Cloning)
        trails = [each.by_step(next(iter(lines(1))))["y"].losses for each in (loaded, module)]
        assert_close(trails[0], trails[1])


def learners(l2l: Any, net: nn.Module) -> Iterator[Any]:
    yield l2l.algorithms.MAML(net, lr=0.1)
    yield l2l.algorithms.MetaSGD(net, lr=0.1)
    yield l2l.algorithms.GBML(net, transform=l2l.optim.ModuleTransform(l2l.nn.Scale), lr=0.1)
    yield type("OwnMAML", (l2l.algorithms.MAML,), {})(net, lr=0.1)


@pytest.mark.parametrize("which", range(4), ids=["MAML", "MetaSGD", "GBML", "a subclass"])
def test_learners_of_theirs_train_in_a_trainer(which: int, trainer: TrainerMaker, l2l: Any) -> None:
    net = nn.Linear(1, 1)
    learner = list(learners(l2l, net))[which]
    module = from_learn2learn(learner, [Task("y", head=Regression())], steps=2, optimizer=adam)
    assert isinstance(module.adaptation, Cloning) == (which >= 2)
    start = [p.detach().clone() for p in learner.parameters()]
    run = trainer(max_epochs=5)
    before = run.validate(module, lines(), verbose=False)[0]["validate/y/loss"]
    run.fit(module, lines(), lines(4))
    assert run.validate(module, lines(), verbose=False)[0]["validate/y/loss"] < 0.2 * before
    assert all((p != old).any() for p, old in zip(learner.parameters(), start, strict=True))


def test_task_sets_of_theirs_feed_a_trainer(trainer: TrainerMaker, l2l: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    kinds = torch.arange(60) % 6
    points = 3 * F.one_hot(kinds, 6) + 0.3 * torch.randn(60, 6, generator=draw)
    data = l2l.data.MetaDataset(torch.utils.data.TensorDataset(points, kinds))
    transforms = l2l.data.transforms
    drawing = [
        transforms.NWays(data, n=3),
        transforms.KShots(data, k=4),
        transforms.LoadData(data),
        transforms.RemapLabels(data),
    ]
    taskset = l2l.data.Taskset(data, drawing)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    module = from_learn2learn(l2l.algorithms.MAML(net, lr=0.5), steps=3)
    run = trainer(max_epochs=3)
    feed = episodes_of_taskset(taskset, shots=2, steps=20)
    run.fit(module, feed, episodes_of_taskset(taskset, shots=2, steps=5))
    assert run.num_training_batches == 20
    assert run.callback_metrics["validate/y/accuracy"] > 0.9
