"""With weights of one a balanced run is the plain one, whatever happens on the way."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.testing import assert_close

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from lightning_mtl.balancers import FAMO, AlignedMTL, ConFIG, LogSum, NashMTL, PCGrad
from lightning_mtl.gradients import Cut, Moment
from lightning_mtl.gradients._task_weights import TaskWeights
from tests.builders import leaning, module, splits
from tests.conftest import TrainerMaker
from tests.gradients.test_balancing import SCOPES, Batches, made


def ones(gramian: Tensor) -> Tensor:
    return torch.ones(len(gramian))


def trunk(middle: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(4, 64), nn.Tanh(), middle or nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 6), nn.Tanh()
    )


Run = Callable[[MultiTaskModule, TrainerMaker], None]
DOUBLE = {"precision": "64-true", "max_epochs": 1}


def scheduled(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(callbacks=[GradientAccumulationScheduler({0: 3})], **DOUBLE).fit(net, Batches())


def fit_again_with_accumulation(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(**DOUBLE).fit(net, Batches())
    trainer(accumulate_grad_batches=3, **DOUBLE).fit(net, Batches())


class Stop(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = batch_idx == 3


def stop_within_a_window(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(accumulate_grad_batches=3, callbacks=[Stop()], min_epochs=0, **DOUBLE).fit(net, Batches())
    trainer(accumulate_grad_batches=3, **DOUBLE).fit(net, Batches())


class Unfreeze(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.frozen(pl_module, True)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.frozen(pl_module, batch_idx < 2)

    def frozen(self, net: Any, frozen: bool) -> None:
        net.encoder.trunk[2].requires_grad_(not frozen)


def unfreeze(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(callbacks=[Unfreeze()], **DOUBLE).fit(net, Batches())


def clip(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(gradient_clip_val=0.05, accumulate_grad_batches=2, **DOUBLE).fit(net, Batches())


class Prune(L.Callback):
    """Prunes a layer within an epoch, and makes it permanent later: the weight is then held after the bias."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        layer = pl_module.encoder.trunk[2]
        if batch_idx == 2:
            torch.manual_seed(7)
            prune.random_unstructured(layer, "weight", amount=0.5)  # type: ignore[no-untyped-call]
        if batch_idx == 4:
            prune.remove(layer, "weight")  # type: ignore[no-untyped-call]


def pruned(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(callbacks=[Prune()], **DOUBLE).fit(net, Batches(8))


class Shifted(MultiTaskModule):
    """Adds two numbers of its own to each prediction."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.u, self.v = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def _outputs(self, *args: Any) -> list[Tensor]:
        return [prediction + (self.u + self.v) for prediction in super()._outputs(*args)]


def _tied(balancing: dict[str, Any]) -> MultiTaskModule:
    net = made(trunk=nn.Sequential(trunk()[0], nn.Tanh(), nn.Linear(64, 6)), **balancing)
    head: Any = net.heads["size"]
    head.layers = nn.Sequential(nn.Linear(6, 4), _Through(net.encoder.trunk[0]), nn.Linear(64, 1))  # type: ignore[index]
    return net


class _Through(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


def _shifted(balancing: dict[str, Any]) -> MultiTaskModule:
    like = made(trunk=trunk())
    torch.manual_seed(4)
    return Shifted(like.tasks, like.encoder, optimizer=like._optimizer, **balancing)


def _normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[dict[str, Any]], MultiTaskModule]:
    def build(balancing: dict[str, Any]) -> MultiTaskModule:
        torch.manual_seed(5)
        return made(trunk=trunk(norm(nn.Linear(64, 64, bias=False))), **balancing)

    return build


def _plain(balancing: dict[str, Any]) -> MultiTaskModule:
    return made(trunk=trunk(), **balancing)


def _changed_in_place_later(balancing: dict[str, Any]) -> MultiTaskModule:
    torch.manual_seed(5)
    return made(trunk=trunk(nn.Sequential(nn.Linear(64, 64), nn.Hardtanh(-0.9, 0.9, inplace=True))), **balancing)


def plainly(net: MultiTaskModule, trainer: TrainerMaker) -> None:
    trainer(**DOUBLE).fit(net, Batches())


TWISTS: dict[str, tuple[Callable[[dict[str, Any]], MultiTaskModule], Run]] = {
    "accumulation by a schedule": (_plain, scheduled),
    "a second fit that accumulates": (_plain, fit_again_with_accumulation),
    "a fit that stops within a window": (_plain, stop_within_a_window),
    "a layer that is unfrozen within an epoch": (_plain, unfreeze),
    "clipped and accumulated": (_plain, clip),
    "a head that is tied to the trunk": (_tied, clip),
    "numbers of the module's own": (_shifted, clip),
    "an output that is changed in place now and then": (_changed_in_place_later, plainly),
    "spectral norm": (_normed(nn.utils.spectral_norm), plainly),
    "pruned within an epoch": (_plain, pruned),
    "pruned without a bias": (_normed(lambda layer: layer), pruned),
    "parametrized": (_normed(nn.utils.parametrizations.weight_norm), plainly),
}


@pytest.mark.parametrize("scope", [{"scope": "representation"}, {"scope": "parameters"}, {"sketch": 8}], ids=str)
@pytest.mark.parametrize("twist", TWISTS)
def test_weights_of_one_are_the_plain_sum(twist: str, scope: dict[str, Any], trainer: TrainerMaker) -> None:
    build, run = TWISTS[twist]
    nets = [build({}), build({"balancer": ones, **scope})]
    for net in nets:
        torch.manual_seed(6)
        run(net, trainer)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert_close(q, p, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


@pytest.mark.parametrize("twist", ["pruned within an epoch", "pruned without a bias", "spectral norm", "parametrized"])
def test_layers_whose_weight_is_computed_are_measured_as_autograd_does(twist: str, trainer: TrainerMaker) -> None:
    build, run = TWISTS[twist]
    nets = [build({"balancer": leaning, **how}) for how in ({"scope": "parameters"}, {"gradient_memory": 9.0})]
    for net in nets:
        torch.manual_seed(6)
        run(net, trainer)
    for (name, p), q in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert_close(q, p, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


@pytest.mark.parametrize("scope", [{"scope": "representation"}, {"sketch": 4096}], ids=str)
def test_what_several_tasks_own_is_weighed_task_by_task(scope: dict[str, Any], trainer: TrainerMaker) -> None:
    exact, other = (
        _shifted({"balancer": halves, "weight_heads": True, **of}) for of in ({"scope": "parameters"}, scope)
    )
    for net in (exact, other):
        torch.manual_seed(6)
        clip(net, trainer)
    for p, q in zip(exact.parameters(), other.parameters(), strict=True):
        assert_close(p, q, rtol=1e-9, atol=1e-12)


def halves(gramian: Tensor) -> Tensor:
    return torch.tensor([1.0, 0.5, 0.25])[: len(gramian)]


def test_the_scale_of_a_loss_does_not_overflow_in_half_precision(trainer: TrainerMaker) -> None:
    """The square of a scale of fp16 is beyond fp16."""
    weights = []
    for scale in (1.0, 2.0**14):
        net = made(trunk=trunk(), balancer=NashMTL(), scope="parameters").float()
        fit = trainer(max_steps=1)
        fit.fit(net, Batches(dtype=torch.float32))
        balance: Any = net._balance
        net.train()
        balance.begin(net, fit, Batches(dtype=torch.float32).batches[0])
        with torch.autocast("cpu", torch.float16):
            loss = net.training_step(Batches(dtype=torch.float32).batches[0], 0)
        balance.backward(loss * scale, torch.autograd.backward, Moment(1, net))
        weights.append(net.balance.weights)  # type: ignore[union-attr]
    assert_close(weights[0], weights[1], rtol=0.05, atol=0)
    assert weights[0].std() > 0.01


@pytest.mark.parametrize("rule", [AlignedMTL, ConFIG, NashMTL])
def test_single_precision_moves_as_double_precision_does_where_gradients_depend(
    rule: Any, trainer: TrainerMaker
) -> None:
    """Six tasks with two features each: rounding must not count as another direction."""
    moves = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(8, 2, generator=generator, dtype=torch.float64)
        net = module(balancer=rule())
        balancer: Any = net.balancer
        balancer.build([str(i) for i in range(8)])
        weights = TaskWeights(balancer, 8, lambda *_: None).ask(rows.to(dtype) @ rows.to(dtype).T, range(8))
        moves.append(weights.double() @ rows)
    if rule is NashMTL:
        assert moves[0].isfinite().all()
    else:
        assert_close(moves[0], moves[1], rtol=0.05, atol=1e-3)


def test_a_step_that_is_not_finite_is_not_remembered(trainer: TrainerMaker) -> None:
    balancer: Any = made(balancer=NashMTL(), refresh_every=10).balancer
    weights = TaskWeights(balancer, 3, lambda *_: pytest.fail("no weights were made"))
    assert weights.ask(torch.full((3, 3), torch.nan), range(3)).tolist() == [1, 1, 1]
    assert weights.overflowed
    assert weights.latest.isnan().all()


def test_all_batches_of_a_window_are_observed(trainer: TrainerMaker) -> None:
    batches = Batches(sources=3)
    for i, batch in enumerate(batches.batches):
        for name in ("sign",) if i % 2 else ("size", "odd"):
            del batch[name]
    net = made(3, balancer=FAMO())
    trainer(accumulate_grad_batches=2, **DOUBLE).fit(net, batches)
    assert net.balancer is not None
    assert net.balancer.logits.count_nonzero() == 3  # type: ignore[operator]


@pytest.mark.parametrize("scope", SCOPES)
def test_nothing_is_held_after_a_step(scope: str, trainer: TrainerMaker) -> None:
    class Count(L.Callback):
        def __init__(self) -> None:
            self.alive = 0

        def on_train_batch_start(self, *_: Any) -> None:
            self.alive += sum(type(one) is Cut for one in gc.get_objects())

    count = Count()
    gc.collect()
    gc.disable()
    try:
        trainer(callbacks=[count], **DOUBLE).fit(made(**SCOPES[scope]), Batches())
    finally:
        gc.enable()
    assert count.alive == 0


def test_an_error_in_a_step_leaves_no_hooks(trainer: TrainerMaker) -> None:
    net = made(trunk=trunk(), balancer=leaning, scope="parameters")
    batches = Batches()
    del batches.batches[2]["s"]["x"]
    with pytest.raises(Exception, match="x"):
        trainer(**DOUBLE).fit(net, batches)
    assert not any(part._forward_hooks for part in net.encoder.modules())


def test_rows_are_let_go_of_after_training(trainer: TrainerMaker) -> None:
    held: list[Any] = []

    class Hold(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            held.append(weakref.ref(pl_module._balance._parameters.rows))

    trainer(callbacks=[Hold()], **DOUBLE).fit(made(balancer=leaning, scope="parameters"), Batches())
    gc.collect()
    assert held[0]() is None


def test_a_negative_loss_is_named_with_the_balancer(trainer: TrainerMaker) -> None:
    net = made(balancer=LogSum())
    for i in range(3):
        net._losses[i] = lambda prediction, target: prediction.mean() - 5
    with pytest.raises(
        ValueError, match=r"The loss of task 'sign' must not be below zero with the balancer LogSum, got -"
    ):
        trainer(log_every_n_steps=2, logger=False, **DOUBLE).fit(net, Batches())


def test_a_model_that_lost_its_balancer_says_so_before_it_is_trained(trainer: TrainerMaker, tmp_path: Any) -> None:
    net = module(balancer=leaning)
    rows = {"s": {"x": torch.randn(8, 4), "sign": torch.randint(2, (8,)), "size": torch.randn(8)}}
    fit = trainer()
    fit.fit(net, _Once(rows))
    fit.save_checkpoint(tmp_path / "last.ckpt")
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(
        ValueError, match=r"`balancer` must be given to train on a model that was trained with .*leaning"
    ):
        trainer().fit(loaded, _Once(rows))
    for balancer in (leaning, None, PCGrad()):
        again = MultiTaskModule.load_from_checkpoint(
            tmp_path / "last.ckpt", balancer=balancer, optimizer=net._optimizer
        )
        trainer().fit(again, _Once(rows))


class _Once:
    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter([self.batch])


def test_steps_of_one_task_are_named_after_an_epoch(trainer: TrainerMaker) -> None:
    batches = Batches(sources=3)
    for batch in batches.batches:
        del batch["sign"], batch["odd"]
    alone, unseen = "No step of the first epoch had labels for two tasks", "No batch of the first epoch had labels for"
    with pytest.warns(UserWarning, match=alone), pytest.warns(UserWarning, match=unseen):
        trainer(**DOUBLE).fit(made(3, balancer=leaning), batches)


def test_weights_that_are_not_finite_stop_the_run(trainer: TrainerMaker) -> None:
    net = made(balancer=lambda gramian: [float("nan")] * len(gramian))
    with pytest.raises(ValueError, match="`balancer` must return finite weights"):
        trainer(**DOUBLE).fit(net, Batches())


def test_a_source_for_each_task_at_the_representation_is_warned_of(trainer: TrainerMaker) -> None:
    rows = {name: [{"x": row["x"], name: row[name]} for row in splits()["train"]] for name in ("sign", "size")}
    data = MultiTaskDataModule({name: {"train": of} for name, of in rows.items()}, summary=False)
    with pytest.warns(UserWarning, match="No two tasks read the same examples"):
        trainer().fit(module(balancer=leaning, scope="representation"), data)
