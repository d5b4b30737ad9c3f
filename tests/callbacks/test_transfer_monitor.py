"""What a step for one task does to the losses of others."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.callbacks import TransferMonitor
from lightning_mtl.callbacks._optimizer_steps import optimizer_steps
from lightning_mtl.callbacks._probe import temporary_step
from tests.builders import rows, splits, tasks
from tests.conftest import TrainerMaker

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.002, weight_decay=0.1),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=0.002, centered=True, momentum=0.5),
    "Adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.01, lr_decay=0.1),
    "Adadelta": lambda groups: torch.optim.Adadelta(groups, lr=0.5, eps=1e-3),
    "Adamax": lambda groups: torch.optim.Adamax(groups, lr=0.002),
    "NAdam": lambda groups: torch.optim.NAdam(groups, lr=0.002),
    "AMSGrad": lambda groups: torch.optim.Adam(groups, lr=0.002, betas=(0.8, 0.9), eps=1e-3, amsgrad=True),
}


def network(optimizer: Any = None, weight: float = 1.0) -> MultiTaskModule:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 5), nn.Tanh())
    made = tasks()
    made[1].weight = weight
    return MultiTaskModule(made, HardSharing(trunk, 5, inputs=["x"]), optimizer=optimizer).double()


def batches(count: int) -> list[dict[str, dict[str, Tensor]]]:
    made = []
    for seed in range(count):
        of = rows(12, seed)
        columns = {name: torch.tensor([row[name] for row in of]) for name in of[0]}
        made.append({"s": {**columns, "x": columns["x"].double(), "size": columns["size"].double()}})
    return made


def fed(of: list[Any]) -> DataLoader[Any]:
    return DataLoader(of, batch_size=None)  # type: ignore[arg-type]


# Against a reference


def losses(of: MultiTaskModule, batch: dict[str, Tensor]) -> list[Tensor]:
    features = of.encoder(batch, ["sign"])["sign"]
    sign: Tensor = of.heads["sign"](features)
    size: Tensor = of.heads["size"](features)
    return [nn.functional.cross_entropy(sign, batch["sign"]), (size.squeeze(-1) - batch["size"]).square().mean()]


def forgetful(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The same optimizer for other parameters, with what it knows of the sizes of gradients, but without momentum and decay."""
    taken = set(inspect.signature(type(optimizer)).parameters) - {"params"}
    group = {name: value for name, value in optimizer.param_groups[0].items() if name in taken}
    group |= {"weight_decay": 0.0, **({"betas": (0.0, group["betas"][1])} if "betas" in group else {})}
    group |= {"momentum": 0.0} if "momentum" in group else {}
    made: torch.optim.Optimizer = type(optimizer)(list(parameters), **group)
    first = [p for of in optimizer.param_groups for p in of["params"]]
    for p, known in zip(parameters, first, strict=False):
        made.state[p] = copy.deepcopy(optimizer.state[known])
    return made


def affinities(
    of: MultiTaskModule, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer, weight: float
) -> Tensor:
    """TAG by hand: step for one task on a copy of the network, and look at all losses."""
    of = copy.deepcopy(of).eval()
    made = torch.zeros(2, 2, dtype=torch.float64)
    for i in range(2):
        stepped = copy.deepcopy(of)
        before = losses(stepped, batch)
        shared = list(stepped.encoder.parameters())
        for p, g in zip(shared, torch.autograd.grad(before[i], shared), strict=True):
            p.grad = (1.0, weight)[i] * g
        forgetful(optimizer, shared).step()
        made[i] = 1 - (torch.stack(losses(stepped, batch)) / torch.stack(before)).detach()
    return made


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_look_is_what_a_step_of_the_optimizer_does(optimizer: str, weight: float, trainer: TrainerMaker) -> None:
    monitor, of, made = TransferMonitor(every=5), network(OPTIMIZERS[optimizer], weight), batches(5)
    fit = trainer(callbacks=[monitor])
    fit.fit(of, fed(made))
    expected = affinities(of, made[-1]["s"], fit.optimizers[0], weight)
    found = monitor.record()
    assert_close(torch.tensor(found["affinity"], dtype=torch.float64), expected, rtol=1e-9, atol=1e-12)
    assert min(found["affinity"][0][0], found["affinity"][1][1]) > 1e-5  # a step for a task helps itself
    assert found["probes"] == 1
    assert found["error"] == [[None, None], [None, None]]


def test_looks_are_averaged(trainer: TrainerMaker) -> None:
    """Four looks are the looks of four runs that end there."""
    made, each = batches(8), []
    for count in (2, 4, 6, 8):
        one = TransferMonitor(every=count)
        trainer(callbacks=[one], max_steps=count, max_epochs=-1).fit(network(OPTIMIZERS["AdamW"]), fed(made))
        each.append(torch.tensor(one.record()["affinity"], dtype=torch.float64))
    monitor = TransferMonitor(every=2)
    fit = trainer(callbacks=[monitor], max_steps=8, max_epochs=-1)
    fit.fit(network(OPTIMIZERS["AdamW"]), fed(made))
    found = monitor.record()
    assert_close(torch.tensor(found["affinity"], dtype=torch.float64), torch.stack(each).mean(0))
    assert_close(torch.tensor(found["error"], dtype=torch.float64), torch.stack(each).std(0) / 2)
    assert found["probes"] == 4
    for i, one_of in enumerate(("sign", "size")):
        other = ("sign", "size")[1 - i]
        shown = float(fit.callback_metrics[f"train/{one_of}~{other}/affinity"])
        assert shown == pytest.approx(found["affinity"][i][1 - i], rel=1e-5)


def test_tasks_of_sources_that_never_meet_in_a_step_are_measured(trainer: TrainerMaker) -> None:
    made = splits(48)
    sources = {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in made.items()}
        for name in ("sign", "size")
    }
    which = tasks()
    for task in which:
        task.source = task.name
    of = MultiTaskModule(which, HardSharing(nn.Linear(4, 5), 5, inputs=["x"]))
    monitor = TransferMonitor(every=6)
    data = MultiTaskDataModule(sources, batch_size=8, batches="homogeneous", summary=False)
    trainer(callbacks=[monitor]).fit(of, data)
    assert monitor.record()["probes"] == 2
    assert all(number is not None for row in monitor.record()["affinity"] for number in row)


# What affinities must be


def toward(sign: float, beyond: float = 0.0) -> Any:
    return lambda prediction, target: (prediction - sign * target).square().mean() + beyond


def alone(groups: Any) -> torch.optim.Optimizer:
    """Train the trunk, and no heads."""
    return torch.optim.SGD([{**group, "lr": 0.01 if group["name"] == "trunk" else 0.0} for group in groups], lr=0.01)


def pair(*losses_of: Any) -> MultiTaskModule:
    """Tasks that begin with equal heads."""
    torch.manual_seed(0)
    which = [Task(f"t{i}", head=Regression(), loss=loss) for i, loss in enumerate(losses_of)]
    made = MultiTaskModule(which, HardSharing(nn.Linear(4, 3), 3, inputs=["x"]), optimizer=alone)
    for head in made.heads.values():
        head.load_state_dict(made.heads["t0"].state_dict())
    return made


def look(of: MultiTaskModule, trainer: TrainerMaker, size: float = 1.0) -> Any:
    torch.manual_seed(1)
    columns = {task.name: torch.full((6,), size) for task in of.tasks}
    monitor = TransferMonitor(every=1)
    trainer(callbacks=[monitor], max_steps=2, max_epochs=-1).fit(
        of, fed([{"s": {"x": torch.randn(6, 4), **columns}}] * 2)
    )
    return monitor


def test_tasks_that_are_one_and_the_same_do_to_each_other_what_they_do_to_themselves(trainer: TrainerMaker) -> None:
    (a, b), (c, d) = look(pair(toward(1), toward(1)), trainer).record()["affinity"]
    assert a == b == c == d > 0


def test_what_pulls_the_other_way_hurts(trainer: TrainerMaker) -> None:
    found = look(pair(toward(1), toward(-1), toward(1)), trainer, size=5.0)
    affinity = found.record()["affinity"]
    assert affinity[0][2] > 0 > affinity[0][1]
    assert affinity[1][1] > 0 > affinity[1][0]
    assert found.record()["groups"] == {"2": [["t0", "t2"], ["t1"]]}
    assert found.grouping(2) == [["t0", "t2"], ["t1"]]
    assert found.grouping(1) == [["t0", "t1", "t2"]]


def test_below_zero_a_loss_that_falls_is_helped_too(trainer: TrainerMaker) -> None:
    affinity = look(pair(toward(1), toward(1, beyond=-1000.0)), trainer).record()["affinity"]
    assert min(of for row in affinity for of in row) > 0
    assert affinity[0][1] < affinity[0][0]  # of a loss that is farther from zero it is a smaller share


def test_a_loss_of_exactly_zero_is_left_out(trainer: TrainerMaker) -> None:
    zero = toward(1)
    affinity = look(pair(zero, lambda prediction, target: (0 * prediction * target).mean()), trainer).record()[
        "affinity"
    ]
    assert affinity[0][1] is None
    assert affinity[1][1] is None
    assert affinity[1][0] == 0


def test_groups_are_those_asked_for(trainer: TrainerMaker) -> None:
    monitor = TransferMonitor(every=1, groups=[1, 3, 9])
    of = pair(*[toward(1)] * 3)
    columns = {task.name: torch.ones(6) for task in of.tasks}
    trainer(callbacks=[monitor]).fit(of, fed([{"s": {"x": torch.randn(6, 4), **columns}}]))
    assert monitor.record()["groups"] == {"1": [["t0", "t1", "t2"]], "3": [["t0"], ["t1"], ["t2"]]}
    assert TransferMonitor().record()["groups"] == {}
    with pytest.raises(ValueError, match=r"`groups\[0\]` must be a whole number of at least 1"):
        TransferMonitor(groups=[0])


# Parts


def test_moved_parameters_come_back_as_the_same_tensors() -> None:
    p = nn.Parameter(torch.randn(5))
    place, before = p.data_ptr(), p.detach().clone()
    graph = (p * p).sum()
    with temporary_step([p], [torch.ones(5)]):
        assert_close(p.detach(), before - 1)
    assert p.data_ptr() == place
    assert torch.equal(p, before)
    assert_close(torch.autograd.grad(graph, p)[0], 2 * before)


def test_each_parameter_has_the_rate_of_its_group() -> None:
    a, b, c, idle = (nn.Parameter(torch.ones(2)) for _ in range(4))
    first = torch.optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": torch.tensor(0.3)}])
    second = torch.optim.AdamW([c, idle], lr=0.5)
    c.grad = torch.tensor([4.0, 0.0])
    second.step()
    made = optimizer_steps([first, second], [a, b, c, idle, nn.Parameter(torch.ones(2))], [torch.ones(2)] * 5)
    assert [float(of[0]) for of in made[:2]] == pytest.approx([0.1, 0.3])
    kept = 0.001 * (0.999 * torch.tensor([16.0, 0.0]) + 1) / (1 - 0.999**2)
    assert_close(made[2], 0.5 / (kept.sqrt() + 1e-8))
    assert not any(float(of.abs().sum()) for of in made[3:])
    (up,) = optimizer_steps([torch.optim.SGD([a], lr=0.1, maximize=True)], [a], [torch.ones(2)])
    assert_close(up, torch.full((2,), -0.1))


def test_no_step_is_larger_than_the_optimizer_makes_them() -> None:
    """Where squares of gradients are nearly zero, what is small beside them must not be divided by them."""
    p = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([p], lr=0.01)
    for _ in range(5000):
        p.grad = torch.full((3,), 1e-12)
        optimizer.step()
    (made,) = optimizer_steps([optimizer], [p], [torch.tensor([1e-3, 1.0, 1e3])])
    assert float(made.max()) < 0.01 / 0.001**0.5 * 1.01


@pytest.mark.parametrize("optimizer", [torch.optim.Rprop, torch.optim.Adafactor])
def test_an_optimizer_that_is_not_known_is_named(optimizer: Any, trainer: TrainerMaker) -> None:
    with pytest.warns(UserWarning, match=f"does not know how {optimizer.__name__} scales gradients"):
        trainer(callbacks=[TransferMonitor(every=2)]).fit(
            network(lambda groups: optimizer(groups, lr=0.01)), fed(batches(3))
        )
