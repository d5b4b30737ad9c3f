"""A gradient balancer beside torch.compile, DDP's options, half precision, schedules, copies, and batches without labels."""

import copy
import io
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lightning_mtl import HardSharing, MultiTaskModule, Regression, Task
from lightning_mtl.balancers import NashMTL, UPGrad
from tests.conftest import TrainerMaker

SIZES = {"x": (3,), "a": (), "b": ()}
OPTIONS: list[dict[str, Any]] = [
    {"scope": "representation"},
    {"scope": "representation", "weight_heads": True},
    {"scope": "representation", "refresh_every": 2},
    {"scope": "parameters"},
    {"sketch": 4096},
    {"gradient_memory": 0.5},
]


def batches(count: int = 4) -> list[dict[str, dict[str, Tensor]]]:
    draw = torch.Generator().manual_seed(0)
    return [{"s": {name: torch.randn(8, *size, generator=draw) for name, size in SIZES.items()}} for _ in range(count)]


def loader(count: int = 4, without: int | None = None) -> Any:
    found = batches(count)
    for name in ("a", "b") if without is not None else ():
        found[without or 0]["s"][name][:] = torch.nan
    return DataLoader(found, batch_size=None)  # type: ignore[arg-type]


def made(trunk: nn.Module | None = None, weight: float = 1.0, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    tasks = [Task(name, head=Regression(layers=nn.Linear(8, 1)), weight=weight) for name in ("a", "b")]
    encoder = HardSharing(trunk or nn.Sequential(nn.Linear(3, 8), nn.Tanh()), width=8, inputs=["x"])
    given: dict[str, Any] = {"balancer": UPGrad(), "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1)}
    return MultiTaskModule(tasks, encoder, **{**given, **options})


def weights_of(module: MultiTaskModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.filterwarnings("ignore:.*leaves `training_step` as it is")
def test_a_compiled_module_learns_what_it_learns_uncompiled(trainer: TrainerMaker) -> None:
    for options in OPTIONS:
        plain, compiled = made(**options), made(**options)
        trainer().fit(plain, loader())
        run: Any = torch.compile(compiled, backend="aot_eager")
        trainer().fit(run, loader())
        assert_close(weights_of(compiled), weights_of(plain), msg=str(options))


def test_a_compiled_module_is_told_what_runs_uncompiled(trainer: TrainerMaker) -> None:
    compiled: Any = torch.compile(made(), backend="eager")
    with pytest.warns(UserWarning, match=r"leaves `training_step` as it is .* encoder\.compile\(\)"):
        trainer(max_steps=1).fit(compiled, loader())


@pytest.mark.filterwarnings(
    "ignore:No step of the first epoch had labels for two tasks", "ignore:No batch of the first epoch"
)
def test_a_batch_without_labels_moves_nothing(trainer: TrainerMaker) -> None:
    for options in OPTIONS:
        module = made(**options)
        before = weights_of(module).clone()
        trainer(max_steps=1).fit(module, loader(1, without=0))
        assert torch.equal(weights_of(module), before)
        trainer(max_steps=3).fit(module, loader(3, without=1))
        assert weights_of(module).isfinite().all()
        assert not torch.equal(weights_of(module), before)


def test_weights_beyond_half_precision_still_move_the_trunk(trainer: TrainerMaker) -> None:
    """With losses of a millionth, the weights that NashMTL finds are above the largest number of float16."""
    for options in (OPTIONS[0], OPTIONS[1], OPTIONS[4]):
        module = made(weight=1e-6, balancer=NashMTL(), **options)
        before = weights_of(module).clone()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        trainer(plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)]).fit(module, loader())
        assert scaler.get_scale() == 2.0**10
        assert (weights_of(module) - before).abs().max() > 1e-3


def test_gradient_memory_is_refused_beside_a_schedule_of_accumulation_before_training(trainer: TrainerMaker) -> None:
    run = trainer(max_epochs=3, callbacks=[GradientAccumulationScheduler({0: 1, 1: 2})])
    with pytest.raises(ValueError, match=r"`gradient_memory` must be left out with accumulation.*grad_batches=2"):
        run.fit(made(gradient_memory=0.5), loader())
    assert run.global_step == 0


@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_averaged_batch_norms_are_updated_beside_gradient_memory(trainer: TrainerMaker) -> None:
    module = made(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)), gradient_memory=0.5)
    trainer(max_epochs=3, callbacks=[StochasticWeightAveraging(0.01, swa_epoch_start=1)]).fit(module, loader())
    assert weights_of(module).isfinite().all()


def test_a_copy_of_a_balanced_module_has_no_process_group(trainer: TrainerMaker) -> None:
    module = made()
    trainer(max_steps=1).fit(module, loader())
    of_ranks: Any = module._balance
    of_ranks.weights.group = io.BytesIO().getbuffer()  # like a process group, it cannot be copied
    copied: Any = copy.deepcopy(module)
    assert copied._balance.weights.group is None
    assert torch.equal(copied._balance.weights.latest, of_ranks.weights.latest)
    torch.save(of_ranks.weights, io.BytesIO())
