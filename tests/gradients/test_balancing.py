"""A balanced step is what its definition says, under every flag of the Trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import pytest
import torch
import torch._functorch.config as functorch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from lightning_mtl import Binary, HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.balancers import FAMO, GradientBalancer, LogSum, Static, Uncertainty
from lightning_mtl.encoders import Encoder, Features
from lightning_mtl.heads import Head
from tests.builders import leaning, module, splits, tasks
from tests.conftest import TrainerMaker
from tests.ranks.cross import every_balancer

Batch = dict[str, dict[str, Tensor]]
KINDS: dict[str, Callable[[], Head]] = {"sign": lambda: Multiclass(2), "size": Regression, "odd": Binary}


class Batches:
    """Three tasks over one source, or a source each, again and again."""

    def __init__(self, count: int = 6, sources: int = 1, dtype: torch.dtype = torch.float64) -> None:
        self.dtype = dtype
        make = torch.Generator().manual_seed(0)
        self.batches = [self._batch(make, sources) for _ in range(count)]

    def _batch(self, make: torch.Generator, sources: int) -> Batch:
        labels: dict[str, Callable[[], Tensor]] = {
            "sign": lambda: torch.randint(2, (8,), generator=make),
            "size": lambda: 3 * torch.randn(8, generator=make, dtype=self.dtype),
            "odd": lambda: torch.randint(2, (8,), generator=make),
        }

        def x() -> dict[str, Tensor]:
            return {"x": torch.randn(8, 4, generator=make, dtype=self.dtype)}

        if sources == 1:
            return {"s": x() | {name: label() for name, label in labels.items()}}
        return {name: x() | {name: label()} for name, label in labels.items()}

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def made(sources: int = 1, trunk: nn.Module | None = None, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    shared = trunk or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
    which = [
        Task(name, None if sources == 1 else name, head=kind(), weight=2.0 if name == "odd" else 1.0)
        for name, kind in KINDS.items()
    ]
    encoder = HardSharing(shared, width=6, inputs=["x"])
    return MultiTaskModule(which, encoder, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), **options)


def losses_of(net: MultiTaskModule, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the losses by hand, and the features of each."""
    losses, features = [], []
    held: dict[str, Tensor] = {}
    for i, task in enumerate(net.tasks):
        source = "s" if "s" in batch else task.name
        if source not in held:
            held[source] = net.encoder({"x": batch[source]["x"]}, [task.name])[task.name]
        features.append(held[source])
        losses.append(task.weight * net._losses[i](net.heads[task.name](held[source]), batch[source][task.name]))
    return losses, features


def by_hand(net: MultiTaskModule, batches: Sequence[Batch], scope: str, heads: bool, accumulate: int) -> None:
    """Train as the definitions say it, one gradient after the other."""
    shared = list(net.encoder.parameters())
    own = [list(head.parameters()) for head in net.heads.values()]
    for start in range(0, len(batches), accumulate):
        rows: list[Any] = [0.0] * len(own)
        gradients = [torch.zeros_like(p) for p in shared]
        of_heads = [[torch.zeros_like(p) for p in ps] for ps in own]
        for batch in batches[start : start + accumulate]:
            losses, features = losses_of(net, batch)
            grads = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
            if scope == "representation":
                z = [
                    torch.autograd.grad(loss, of, retain_graph=True)[0].flatten()
                    for loss, of in zip(losses, features, strict=True)
                ]
                weights = leaning(torch.stack(z) @ torch.stack(z).T)
                gradients = [
                    g + sum(w * of[i] for w, of in zip(weights, grads, strict=True)) / accumulate
                    for i, g in enumerate(gradients)
                ]
            else:
                weights = torch.ones(len(own))
            rows = [
                row + torch.cat([g.flatten() for g in of]) / accumulate for row, of in zip(rows, grads, strict=True)
            ]
            for k, loss in enumerate(losses):
                step = torch.autograd.grad(loss, own[k], retain_graph=True)
                of_heads[k] = [
                    g + (weights[k] if heads else 1) * s / accumulate for g, s in zip(of_heads[k], step, strict=True)
                ]
        if scope == "parameters":
            matrix = torch.stack(rows)
            weights = leaning(matrix @ matrix.T)
            parts = torch.split(weights @ matrix, [p.numel() for p in shared])
            gradients = [part.view_as(p) for part, p in zip(parts, shared, strict=True)]
            of_heads = [[w * g if heads else g for g in of] for w, of in zip(weights, of_heads, strict=True)]
        with torch.no_grad():
            for p, g in zip(
                [*shared, *(p for of in own for p in of)],
                [*gradients, *(g for of in of_heads for g in of)],
                strict=True,
            ):
                p.sub_(0.1 * g)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("heads", [False, True])
# With a source for each task the features are different coordinates: no two gradients of them meet.
@pytest.mark.parametrize(("sources", "scope"), [(1, "representation"), (1, "parameters"), (3, "parameters")])
def test_a_run_is_what_the_definitions_say(
    sources: int, scope: Any, heads: bool, accumulate: int, trainer: TrainerMaker
) -> None:
    batches = Batches(sources=sources)
    net = made(sources, balancer=leaning, scope=scope, weight_heads=heads)
    hand = copy.deepcopy(net).double()
    trainer(precision="64-true", accumulate_grad_batches=accumulate).fit(net, batches)
    by_hand(hand, batches.batches, scope, heads, accumulate)
    for p, q in zip(net.parameters(), hand.parameters(), strict=True):
        assert_close(p, q, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{"gradient_memory": 0.5}, {"gradient_memory": 2.0}, {"refresh_every": 1}])
@pytest.mark.parametrize("sources", [1, 3])
def test_the_engines_of_the_exact_scope_agree(sources: int, options: dict[str, Any], trainer: TrainerMaker) -> None:
    rows = made(sources, balancer=leaning, scope="parameters")
    other = made(sources, balancer=leaning, scope="parameters", **options)
    for net in (rows, other):
        trainer(precision="64-true").fit(net, Batches(sources=sources))
    for p, q in zip(rows.parameters(), other.parameters(), strict=True):
        assert_close(p, q, rtol=1e-10, atol=1e-12)
    assert rows.balance is not None
    assert other.balance is not None
    assert_close(rows.balance.cosines, other.balance.cosines)


class Untidy(nn.Module):
    """Has layers that are not what their input and output say: used twice, changed in place, used by hand, left out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.by_hand = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.changed, self.unused, self.plain = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
        self.last = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.tanh(self.twice(torch.tanh(self.first(x)))))
        x = torch.tanh(self.by_hand(x)) + x @ self.by_hand.weight
        x = nn.functional.relu(self.changed(x), inplace=True)
        return torch.tanh(self.last(torch.tanh(self.plain(x))))


class Trusted(L.Callback):
    """Notes which layers were taken apart."""

    names: Any = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        known = pl_module._balance._parameters.rows._linear._known
        self.names = {name for name, part in pl_module.encoder.named_modules() if known.get(part)}


@pytest.mark.parametrize("sources", [1, 3])
def test_linear_layers_are_taken_apart_where_that_is_the_same(sources: int, trainer: TrainerMaker) -> None:
    torch.manual_seed(1)
    tidy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU(inplace=False), nn.Linear(64, 6))
    nothing_else = nn.Sequential(nn.Linear(4, 64, bias=False).requires_grad_(False), *copy.deepcopy(list(tidy)[1:]))
    for trunk in (tidy, nothing_else, Untidy()):
        apart, in_pieces = (
            made(sources, copy.deepcopy(trunk), balancer=leaning, scope="parameters", gradient_memory=memory)
            for memory in (None, 3.0)
        )
        seen = Trusted()
        trainer(precision="64-true").fit(in_pieces, Batches(sources=sources))
        trainer(precision="64-true", callbacks=[seen]).fit(apart, Batches(sources=sources))
        for p, q in zip(apart.parameters(), in_pieces.parameters(), strict=True):
            assert_close(p, q, rtol=1e-9, atol=1e-12)
        expected = {"trunk.plain", "trunk.last"} if isinstance(trunk, Untidy) else {"trunk.2", "trunk.4"}
        assert seen.names == (expected if sources == 1 else set())  # with more sources a layer runs more than once


def cosines(net: MultiTaskModule) -> Tensor:
    assert net.balance is not None
    assert net.balance.cosines is not None
    return net.balance.cosines


def test_a_larger_sketch_comes_closer_to_the_gramian(trainer: TrainerMaker) -> None:
    wide = nn.Sequential(nn.Linear(4, 200), nn.Tanh(), nn.Linear(200, 6), nn.Tanh())
    exact = made(trunk=copy.deepcopy(wide), balancer=leaning, scope="parameters")
    trainer(precision="64-true", limit_train_batches=1).fit(exact, Batches())
    errors = []
    for size in (8, 8192):
        net = made(trunk=copy.deepcopy(wide), balancer=leaning, sketch=size)
        trainer(precision="64-true", limit_train_batches=1).fit(net, Batches())
        errors.append((cosines(net) - cosines(exact)).abs().max())
    assert errors[1] < 0.04 < errors[0]


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(4, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(checkpoint(lambda y: self.above(torch.tanh(self.below(y))), x, use_reentrant=False))


SCOPES: dict[str, dict[str, Any]] = {
    "gate": {"balancer": leaning},
    "gate, heads weighed": {"balancer": leaning, "weight_heads": True},
    "rows": {"balancer": leaning, "scope": "parameters"},
    "sketch": {"balancer": leaning, "sketch": 64},
    "losses": {"balancer": FAMO()},
}


@pytest.mark.parametrize("scope", SCOPES)
def test_checkpointing_changes_nothing(scope: str, trainer: TrainerMaker) -> None:
    trunk = Checkpointed()
    plain = nn.Sequential(trunk.below, nn.Tanh(), trunk.above, nn.Tanh())
    nets = [made(trunk=copy.deepcopy(of), **SCOPES[scope]) for of in (trunk, plain)]
    for net in nets:
        trainer(precision="64-true").fit(net, Batches())
    for p, q in zip(nets[0].encoder.parameters(), nets[1].encoder.parameters(), strict=True):
        assert_close(p, q, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_compiled_trunk_changes_nothing(scope: str, trainer: TrainerMaker) -> None:
    nets = [made(**SCOPES[scope]), made(**SCOPES[scope])]
    encoder: Any = nets[1].encoder
    encoder.trunk = torch.compile(encoder.trunk, backend="aot_eager")
    flag = functorch.donated_buffer
    for net in nets:
        trainer(precision="64-true").fit(net, Batches())
    assert functorch.donated_buffer is flag  # a setting of the whole process
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert_close(p, q, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", SCOPES)
def test_mixed_precision_comes_near_full_precision(scope: str, trainer: TrainerMaker) -> None:
    def trained(precision: Any) -> MultiTaskModule:
        net = made(**SCOPES[scope])
        trainer(precision=precision, gradient_clip_val=1.0).fit(net, Batches(dtype=torch.float32))
        return net

    full = trained("32-true")
    mixed = trained("bf16-mixed")
    assert mixed.balance is not None
    assert full.balance is not None
    assert_close(mixed.balance.weights, full.balance.weights, rtol=0.05, atol=0.02)
    for p, q in zip(mixed.parameters(), full.parameters(), strict=True):
        assert_close(p, q, rtol=0.1, atol=0.03)


class Scaled(Precision):
    """Scales losses, and unscales gradients, as a fp16 scaler does, which Lightning has for GPUs only."""

    def pre_backward(self, tensor: Tensor, module: L.LightningModule) -> Tensor:  # type: ignore[override]
        return super().pre_backward(tensor * 2.0**16, module)

    def post_backward(self, tensor: Tensor, module: L.LightningModule) -> Tensor:  # type: ignore[override]
        return super().post_backward(tensor, module)

    def _after_closure(self, model: Any, optimizer: Any) -> None:
        for p in model.parameters():
            p.grad = None if p.grad is None else p.grad / 2.0**16
        super()._after_closure(model, optimizer)


@pytest.mark.parametrize("scope", SCOPES)
def test_scaled_losses_change_nothing(scope: str, trainer: TrainerMaker) -> None:
    nets = [made(**SCOPES[scope]).double(), made(**SCOPES[scope]).double()]
    trainer(accumulate_grad_batches=2).fit(nets[0], Batches())
    trainer(accumulate_grad_batches=2, plugins=[Scaled()]).fit(nets[1], Batches())
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert_close(p, q, rtol=1e-10, atol=1e-12)


RULES = every_balancer()


@pytest.mark.parametrize("name", RULES)
def test_every_parameter_moves_under_every_rule(name: str, trainer: TrainerMaker) -> None:
    scopes: list[Any] = ["representation", "parameters"] if issubclass(RULES[name], GradientBalancer) else [None]
    for scope in scopes:
        net = made(balancer=RULES[name](), scope=scope)
        before = [p.detach().clone() for p in net.parameters()]
        trainer(max_steps=3).fit(net, Batches(dtype=torch.float32))
        for (where, p), was in zip(net.named_parameters(), before, strict=True):
            assert not torch.equal(p, was), f"{where}, {scope}"


def test_weights_are_kept_between_the_steps_that_measure(trainer: TrainerMaker) -> None:
    asked: list[int] = []

    def counting(gramian: Tensor) -> Tensor:
        asked.append(len(gramian))
        return leaning(gramian)

    net = made(balancer=counting, refresh_every=4)
    function: Any = net.balancer
    function.function = counting  # the module's copy has a list of its own
    trainer(precision="64-true").fit(net, Batches(count=9))
    assert asked == [3, 3, 3]


class Apart(Encoder):
    """Gives each task features of its own."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 18)

    def forward(self, inputs: dict[str, Any], tasks: Sequence[str]) -> dict[str, Features]:
        return dict(zip(KINDS, self.trunk(inputs["x"]).split(6, -1), strict=True))


def test_features_of_each_task_are_balanced_for_the_parameters(trainer: TrainerMaker) -> None:
    which = [Task(name, head=kind()) for name, kind in KINDS.items()]
    net = MultiTaskModule(which, Apart(), balancer=leaning)
    trainer(precision="64-true").fit(net, Batches())
    assert net.balance is not None
    assert net.balance.gramian is not None
    refused = MultiTaskModule(which, Apart(), balancer=leaning, scope="representation")
    with pytest.raises(ValueError, match="`scope` must be 'parameters' where the encoder gives each task features"):
        trainer(precision="64-true").fit(refused, Batches())


def test_a_balance_tells_callbacks_what_the_step_did(trainer: TrainerMaker) -> None:
    class Look(L.Callback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.seen.append(pl_module.balance)

    for balancer in (leaning, LogSum()):
        look = Look()
        net = made(balancer=balancer)
        fit = trainer(precision="64-true", callbacks=[look], log_every_n_steps=1)
        fit.fit(net, Batches())
        assert len(look.seen) == 6
        for balance in look.seen:
            assert balance.tasks == tuple(KINDS)
            assert balance.losses.shape == balance.weights.shape == (3,)
        shown = {name: value for name, value in fit.callback_metrics.items() if name.endswith("loss_weight")}
        assert list(shown) == [f"train/{name}/loss_weight" for name in KINDS]
    assert_close(look.seen[0].weights, 1 / look.seen[0].losses)


def test_a_lone_task_is_not_balanced(trainer: TrainerMaker) -> None:
    plain, balanced = module(tasks(["size"])), module(tasks(["size"]), balancer=LogSum())
    for net in (plain, balanced):
        trainer().fit(net, MultiTaskDataModule({"s": splits()}, summary=False, seed=0))
    for p, q in zip(plain.parameters(), balanced.parameters(), strict=True):
        assert torch.equal(p, q)
    assert balanced.balance is None


def test_what_a_balancer_learns_is_an_optimizer_group_without_decay(trainer: TrainerMaker) -> None:
    net = MultiTaskModule(tasks(), module().encoder, balancer=Uncertainty())
    fit = trainer()
    fit.fit(net, MultiTaskDataModule({"s": splits()}, summary=False))
    groups = {group["name"]: group for group in fit.optimizers[0].param_groups}
    assert list(groups) == ["trunk", "heads", "balancer"]
    assert groups["balancer"]["weight_decay"] == 0
    assert {id(p) for p in groups["balancer"]["params"]} == {id(p) for p in net.balancer.parameters()}  # type: ignore[union-attr]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a class": ({"balancer": LogSum}, "`balancer` must be an object, got the class. Make it: LogSum()"),
    "scope without": ({"scope": "parameters"}, "`scope` must be left out without a gradient balancer"),
    "heads with losses": ({"balancer": LogSum(), "weight_heads": True}, "`weight_heads` must be left out"),
    "a sketch there": ({"balancer": leaning, "scope": "representation", "sketch": 8}, "`sketch` must go with"),
    "refresh": (
        {"balancer": leaning, "refresh_every": 0},
        "`refresh_every` must be a whole number of at least 1, got 0",
    ),
    "memory": ({"balancer": leaning, "gradient_memory": 0.0}, "`gradient_memory` must be above 0, got 0.0"),
    "both": ({"balancer": leaning, "gradient_memory": 1.0, "sketch": 8}, "`gradient_memory` must be left out with"),
    "a name": ({"balancer": Static({"sing": 2.0})}, "sing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case: str) -> None:
    options, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(").replace(")", r"\)")):
        module(**options)


def test_steps_of_one_task_are_refused(trainer: TrainerMaker) -> None:
    data = {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in splits().items()}
        for name in ("sign", "size")
    }
    sampled = MultiTaskDataModule(data, batches="homogeneous", summary=False)
    with pytest.raises(ValueError, match="`balancer` must find two tasks in a step"):
        trainer().fit(module(balancer=leaning), sampled)
    trainer().fit(module(balancer=Static({"sign": 2.0, "size": 1.0})), sampled)


def test_a_frozen_trunk_is_refused(trainer: TrainerMaker) -> None:
    net = module(balancer=leaning)
    net.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="`balancer` must find shared parameters that are trained"):
        trainer().fit(net, MultiTaskDataModule({"s": splits()}, summary=False))
