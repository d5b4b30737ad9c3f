"""Loss balancers: several losses made one."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Literal

import pytest
import torch
import torchjd.scalarization as peer
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from lightning_mtl import balancers
from lightning_mtl.balancers import (
    FAMO,
    IMTLL,
    DynamicWeightAverage,
    GeometricMean,
    LogSum,
    LossBalancer,
    RandomWeights,
    SmoothTchebycheff,
    SoftmaxUncertainty,
    Static,
    Uncertainty,
)

Maker = Callable[[], LossBalancer]
NAMES = "abcd"
EACH = {"a": 0.5, "b": 2.0, "c": 1.0, "d": 3.0}
BALANCERS: list[Maker] = [
    Static,
    lambda: Static(EACH),
    LogSum,
    GeometricMean,
    Uncertainty,
    SoftmaxUncertainty,
    lambda: SoftmaxUncertainty(temperature=None),
    DynamicWeightAverage,
    RandomWeights,
    lambda: RandomWeights("dirichlet", seed=3),
    IMTLL,
    SmoothTchebycheff,
    lambda: SmoothTchebycheff(mu=0.5, preferences=EACH),
    FAMO,
    lambda: FAMO(lr=0.1, gamma=0.0, min_losses={name: -value for name, value in EACH.items()}),
]


def describe(make: Maker) -> str:
    return repr(make())


def each(*, without: tuple[type[LossBalancer], ...] = ()) -> pytest.MarkDecorator:
    made = [make for make in BALANCERS if not isinstance(make(), without)]
    return pytest.mark.parametrize("make", made, ids=describe)


def rows(count: int, tasks: int = len(NAMES), seed: int = 0) -> Tensor:
    """Losses of so many steps."""
    return torch.rand(count, tasks, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 0.1


def built(make: Maker, names: Sequence[str] = NAMES) -> LossBalancer:
    balancer = make().double()
    balancer.build(names)
    for number, learned in enumerate(balancer.parameters()):
        nn.init.uniform_(learned, -1, 1, generator=torch.Generator().manual_seed(number))
    return balancer.double()


def weights(balancer: LossBalancer, losses: Tensor, tasks: Sequence[int] | None = None) -> Tensor:
    leaf = losses.detach().clone().requires_grad_()
    return torch.autograd.grad(balancer(leaf, tasks), leaf)[0]


def run(balancer: LossBalancer, steps: Tensor, start: int = 0, tasks: Sequence[int] | None = None) -> list[Tensor]:
    """Give the weights of each step; an epoch has three steps, and what is learned moves against its gradient."""
    found = []
    for step, losses in enumerate(steps, start):
        balancer.observe(losses, step, step // 3, tasks)
        found.append(weights(balancer, losses, tasks))
        for learned in balancer.parameters():
            (gradient,) = torch.autograd.grad(balancer(losses, tasks), learned)
            with torch.no_grad():
                learned.sub_(0.1 * gradient)
    return found


# Theorems


def test_every_balancer_of_losses_is_tested_here() -> None:
    exported = {kind for name in balancers.__all__ if isinstance(kind := getattr(balancers, name), type)}
    finished = {kind for kind in exported if issubclass(kind, LossBalancer) and not inspect.isabstract(kind)}
    assert finished == {type(make()) for make in BALANCERS}


@each()
def test_forward_is_pure_and_differentiable(make: Maker) -> None:
    balancer = built(make)
    run(balancer, rows(7))
    state = copy.deepcopy(balancer.state_dict())
    losses = rows(1, seed=1)[0]
    first = balancer(losses)
    assert first.shape == ()
    assert_close(balancer(losses), first, rtol=0, atol=0)
    assert_close(balancer.state_dict(), state, rtol=0, atol=0, equal_nan=True)
    assert (weights(balancer, losses) > 0).all()


@each(without=(SoftmaxUncertainty, FAMO))  # their weights depend on the losses, and are constant to the gradient
def test_gradients_are_those_of_the_value(make: Maker) -> None:
    balancer = built(make)
    run(balancer, rows(7))
    assert gradcheck(lambda losses: balancer(losses), rows(1, seed=1)[0].requires_grad_())


@each(without=(RandomWeights,))  # draws by number of the task
def test_the_order_of_tasks_is_irrelevant(make: Maker) -> None:
    order = [2, 0, 3, 1]
    one, other = built(make), built(make, [NAMES[task] for task in order])
    for known, learned in zip(one.parameters(), other.parameters(), strict=True):
        learned.data.copy_(known.data[order])
    steps = rows(9)
    for mine, theirs in zip(run(one, steps), run(other, steps[:, order]), strict=True):
        assert_close(mine[order], theirs)


@each()
def test_losses_may_come_in_another_order(make: Maker) -> None:
    order = [2, 0, 3, 1]
    one, other = built(make), built(make)
    steps = rows(9)
    for mine, theirs in zip(run(one, steps), run(other, steps[:, order], tasks=order), strict=True):
        assert_close(mine[order], theirs)


@each(without=(RandomWeights,))  # draws by number of the task
def test_absent_tasks_do_not_enter(make: Maker) -> None:
    there = [1, 3]
    whole, part = built(make), built(make, [NAMES[task] for task in there])
    for known, learned in zip(whole.parameters(), part.parameters(), strict=True):
        learned.data.copy_(known.data[there])
    steps = rows(9, tasks=2)
    for mine, theirs in zip(run(whole, steps, tasks=there), run(part, steps), strict=True):
        assert_close(mine, theirs)


@each(without=(DynamicWeightAverage,))  # at the first step of an epoch it takes the means of all tasks
def test_the_state_of_absent_tasks_stays(make: Maker) -> None:
    balancer = built(make)
    run(balancer, rows(7))
    before = copy.deepcopy(balancer.state_dict())
    run(balancer, rows(7, tasks=2), start=7, tasks=[1, 3])
    for name, values in balancer.state_dict().items():
        if name != "last":  # of FAMO: the losses of the last step, which had others
            assert_close(values[[0, 2]], before[name][[0, 2]], rtol=0, atol=0)


@each()
@pytest.mark.parametrize("cut", [1, 4, 6, 8])
@pytest.mark.parametrize("tasks", [None, [0, 2, 3]], ids=["all", "some"])
def test_a_run_that_is_resumed_goes_on_as_the_unbroken_one(make: Maker, cut: int, tasks: list[int] | None) -> None:
    steps = rows(14, len(tasks or NAMES))
    unbroken, saved, resumed = built(make), built(make), built(make)
    expected = run(unbroken, steps, tasks=tasks)
    run(saved, steps[:cut], tasks=tasks)
    run(resumed, rows(5, seed=9))
    resumed.load_state_dict(copy.deepcopy(saved.state_dict()))
    for mine, theirs in zip(run(resumed, steps[cut:], cut, tasks), expected[cut:], strict=True):
        assert_close(mine, theirs, rtol=0, atol=0)


@each(without=(RandomWeights,))  # draws by number of the task
def test_building_again_keeps_what_is_known(make: Maker) -> None:
    balancer, same = built(make), built(make)
    steps = rows(9)
    run(balancer, steps[:5])
    run(same, steps[:5])
    balancer.build(["d", "a"])
    kept = run(balancer, steps[5:][:, [3, 0]])
    for mine, theirs in zip(kept, run(same, steps[5:][:, [3, 0]], tasks=[3, 0]), strict=True):
        assert_close(mine, theirs)


@each()
def test_building_alike_changes_nothing(make: Maker) -> None:
    balancer = built(make)
    run(balancer, rows(5))
    parameters, state = list(balancer.parameters()), copy.deepcopy(balancer.state_dict())
    balancer.build(list(NAMES))
    assert all(old is new for old, new in zip(parameters, balancer.parameters(), strict=True))
    assert_close(balancer.state_dict(), state, rtol=0, atol=0, equal_nan=True)


@each()
def test_tasks_that_come_and_go_keep_weights_finite(make: Maker) -> None:
    balancer = built(make)
    for step, losses in enumerate(rows(40)):
        tasks = [task for task in range(4) if step >> task & 1]
        balancer.observe(losses[tasks], step, step // 3, tasks)
        if tasks:
            assert (weights(balancer, losses[tasks], tasks) > 0).all()


def fresh(make: Maker) -> LossBalancer:
    """An unbuilt balancer: numbers are its names of tasks."""
    balancer = make()
    for argument in ("weights", "preferences", "min_losses"):
        if getattr(balancer, argument, None) is not None:
            setattr(balancer, argument, list(EACH.values()))
    return balancer


@each()
def test_an_unbuilt_balancer_builds_itself(make: Maker) -> None:
    losses, balancer = rows(1)[0], fresh(make)
    value = balancer(losses)
    assert balancer.names == ("0", "1", "2", "3")
    assert value.dtype == torch.float64
    assert {kept.dtype for kept in balancer.state_dict().values()} <= {torch.float64}
    partly = fresh(make)
    partly(losses[[1, 3]], [1, 3])
    assert len(partly.names) == 4


@each()
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(make: Maker, half: torch.dtype) -> None:
    single, halved = make(), make()
    single.build(NAMES)
    halved.build(NAMES)
    halved.to(half)
    for step, losses in enumerate(rows(8).to(half)):
        single.observe(losses.float(), step, step // 3)
        halved.observe(losses, step, step // 3)
        assert_close(halved(losses), single(losses.float()), rtol=0, atol=0)
    assert_close(halved.state_dict(), single.state_dict(), rtol=0, atol=0)


@each()
def test_a_loss_of_zero_keeps_the_step_finite(make: Maker) -> None:
    balancer = built(make)
    run(balancer, rows(4))
    for step in (4, 5, 6, 7):
        losses = torch.tensor([0.0, 1.0, 0.5, 0.0], dtype=torch.float64)
        balancer.observe(losses, step, step // 3)
        assert balancer(losses).isfinite()
        assert weights(balancer, losses).isfinite().all()


@pytest.mark.parametrize("make", [LogSum, IMTLL, Uncertainty, GeometricMean], ids=describe)
def test_scales_of_losses_do_not_matter_where_numbers_are_optimal(make: Maker) -> None:
    """L[k] w[k] is the same for all tasks at any scale, where what is learned is at its minimum."""
    losses = rows(1)[0] * torch.tensor([1e-3, 1.0, 1e3, 1e6], dtype=torch.float64)
    balancer = built(make)
    for learned in balancer.parameters():
        learned.data = losses.log() if isinstance(balancer, Uncertainty) else -losses.log()
        (gradient,) = torch.autograd.grad(balancer(losses), learned)
        assert_close(gradient, torch.zeros(4, dtype=torch.float64))
    parts = losses * weights(balancer, losses)
    assert_close(parts, parts.mean().expand(4), rtol=1e-4, atol=0)


@each()
@pytest.mark.parametrize("tasks", [None, [0, 2, 3]], ids=["all", "some"])
def test_no_step_waits_for_the_device(make: Maker, tasks: list[int] | None) -> None:
    """On the meta device there is nothing that the host could read, so whatever reads it fails."""
    balancer = built(make).to("meta")
    for step, losses in enumerate(rows(8, len(tasks or NAMES)).to("meta")):
        balancer.observe(losses, step, step // 3, tasks)
        assert weights(balancer, losses, tasks).is_meta


# Numbers: computed in float64 by the papers' formulas, and by TorchJD 0.18 where it has the method

TWO, THREE = [0.7, 2.3], [0.7, 2.3, 0.15]
LATER = {2: [0.6, 2.2], 3: [0.6, 2.2, 0.14]}
SHIFTS = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
GIVEN: list[tuple[Maker, list[float], float, list[float]]] = [
    (GeometricMean, TWO, 1.268857754045, [0.9063269672, 0.2758386422]),
    (GeometricMean, THREE, 0.622738493478, [0.2965421398, 0.0902519556, 1.3838633188]),
    (lambda: SmoothTchebycheff(mu=0.1), TWO, 1.150033540637, [0.0001676751, 0.4998323249]),
    (lambda: SmoothTchebycheff(mu=0.1), THREE, 0.767225088726, [0.0016003549, 0.3314771141, 0.0002558643]),
    (lambda: SmoothTchebycheff(mu=1.0), TWO, 1.521100665948, [0.1550127594, 0.3449872406]),
    (lambda: SmoothTchebycheff(mu=1.0), THREE, 1.496639237237, [0.0942392806, 0.1606407363, 0.0784533165]),
    (Uncertainty, TWO, 1.5, [0.5, 0.5]),
    (Uncertainty, THREE, 1.575, [0.5, 0.5, 0.5]),
    (IMTLL, TWO, 3.0, [1.0, 1.0]),
    (IMTLL, THREE, 3.15, [1.0, 1.0, 1.0]),
    (LogSum, TWO, math.log(0.7 * 2.3), [1.4285714286, 0.4347826087]),
    (LogSum, THREE, math.log(0.7 * 2.3 * 0.15), [1.4285714286, 0.4347826087, 6.6666666667]),
]
WEIGHTS: list[tuple[Maker, list[float], list[float]]] = [
    (lambda: SoftmaxUncertainty(temperature=None), TWO, [0.7666666667, 0.2333333333]),
    (lambda: SoftmaxUncertainty(temperature=None), THREE, [0.1674757282, 0.0509708738, 0.7815533981]),
    (SoftmaxUncertainty, TWO, [0.7298356353, 0.2701643647]),
    (SoftmaxUncertainty, THREE, [0.0052720025, 0.0019515452, 0.9927764523]),
    (lambda: SoftmaxUncertainty(5.0), TWO, [0.5495265043, 0.4504734957]),
    (lambda: SoftmaxUncertainty(5.0), THREE, [0.2141050835, 0.1755123086, 0.6103826079]),
]


def tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("make", "losses", "value", "slopes"), GIVEN)
def test_values_and_slopes(make: Maker, losses: list[float], value: float, slopes: list[float]) -> None:
    assert_close(make()(tensor(losses)), torch.tensor(value, dtype=torch.float64), rtol=1e-6, atol=0)
    assert_close(weights(make(), tensor(losses)), tensor(slopes), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("make", "losses", "expected"), WEIGHTS)
def test_weights(make: Maker, losses: list[float], expected: list[float]) -> None:
    assert_close(weights(make(), tensor(losses)), tensor(expected), rtol=1e-6, atol=0)
    assert_close(make()(tensor(losses)), tensor(losses) @ tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("losses", "value", "slopes"),
    [
        (TWO, 1.864623359612, [0.3032653299, 0.6749294038]),
        (THREE, 1.982486165965, [0.3032653299, 0.6749294038, 0.4524187090]),
    ],
)
def test_uncertainty_of_given_variances(losses: list[float], value: float, slopes: list[float]) -> None:
    balancer = built(Uncertainty, NAMES[: len(losses)])
    balancer.load_state_dict({"log_variances": SHIFTS[: len(losses)]})
    assert_close(balancer(tensor(losses)).item(), value)
    assert_close(weights(balancer, tensor(losses)), tensor(slopes))


def test_uncertainty_is_half_the_inverse_loss_at_its_optimum() -> None:
    balancer = built(Uncertainty, NAMES[:3])
    balancer.load_state_dict({"log_variances": tensor(THREE).log()})
    assert_close(weights(balancer, tensor(THREE)), 0.5 / tensor(THREE))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [(TWO, [0.9751603901, 1.0248396099]), (THREE, [0.9709445398, 1.0204089844, 1.0086464758])],
)
def test_dynamic_weights_are_of_the_means_of_two_epochs(losses: list[float], expected: list[float]) -> None:
    balancer, step = DynamicWeightAverage(), 0
    noise = tensor([0.05, -0.03, 0.01])[: len(losses)]
    for epoch, mean in enumerate((losses, LATER[len(losses)])):
        for sign in (1, -1):
            balancer.observe(tensor(mean) + sign * noise, step, epoch)
            assert_close(weights(balancer, tensor(losses)), torch.ones(len(losses), dtype=torch.float64))
            step += 1
    balancer.observe(tensor(losses), step, 2)
    assert_close(weights(balancer, tensor(losses)), tensor(expected), rtol=1e-8, atol=0)


def test_a_task_that_is_absent_for_an_epoch_keeps_its_rate() -> None:
    balancer = built(DynamicWeightAverage, "ab")
    for epoch, losses in enumerate([[4.0, 1.0], [2.0, 1.0]]):
        balancer.observe(tensor(losses), epoch, epoch)
    for epoch in (2, 3):
        balancer.observe(tensor([1.0]), epoch, epoch, [1])
    expected = 2 * (tensor([0.5, 1.0]) / 2).softmax(0)
    assert_close(weights(balancer, tensor([1.0, 1.0])), expected)


@pytest.mark.parametrize(
    ("losses", "first", "second"),
    [
        (TWO, [0.7666666649, 0.2333333351], [0.7771757187, 0.2228242813]),
        (THREE, [0.1674757349, 0.0509708764, 0.7815533887], [0.1726472424, 0.0494997417, 0.7778530159]),
    ],
)
def test_famo_of_two_steps(losses: list[float], first: list[float], second: list[float]) -> None:
    balancer = FAMO()
    balancer.observe(tensor(losses), 0, 0)
    assert_close(weights(balancer, tensor(losses)), tensor(first), rtol=1e-8, atol=0)
    inverse = 1 / tensor(losses)
    assert_close(tensor(first), inverse / inverse.sum(), rtol=1e-6, atol=0)
    later = tensor(LATER[len(losses)])
    balancer.observe(later, 1, 0)
    assert_close(weights(balancer, later), tensor(second), rtol=1e-8, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("lowest", [None, -1.5])
def test_famo_is_the_peers_with_the_losses_of_the_next_step(gamma: float, lowest: float | None) -> None:
    mine = FAMO(gamma=gamma, min_losses=None if lowest is None else [lowest] * 4)
    theirs = peer.FAMO(4, min_losses=None if lowest is None else tensor([lowest] * 4), weight_decay=gamma).double()
    steps = rows(60)
    for step, losses in enumerate(steps):
        mine.observe(losses, step, 0)
        if step:
            theirs.update(losses)
        leaf = losses.clone().requires_grad_()
        (expected,) = torch.autograd.grad(theirs(leaf), leaf)
        assert_close(weights(mine, losses), expected, rtol=1e-7, atol=0)
        assert_close(expected.sum().item(), 1.0)


def test_famo_gives_more_weight_to_what_falls_slowly() -> None:
    balancer = FAMO()
    for step in range(200):
        balancer.observe(tensor([0.9**step, 0.99**step, 1.0]), step, 0)
    assert balancer.logits.argsort().tolist() == [0, 1, 2]


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_famo_moves_the_tasks_that_two_steps_in_a_row_had(gamma: float) -> None:
    """Every task has an optimizer of its own here, which steps when the task was there both times."""
    balancer = FAMO(gamma=gamma)
    balancer.build(NAMES)
    balancer.double()
    logits: list[Tensor] = [nn.Parameter(tensor([0.0])) for _ in NAMES]
    optimizers = [torch.optim.Adam([logit], lr=0.025, weight_decay=gamma) for logit in logits]
    last: dict[int, Tensor] = {}
    for step, losses in enumerate(rows(60)):
        there = [task for task in range(4) if (step * 7 % 16 | step % 3) >> task & 1]
        balancer.observe(losses[there], step, 0, there)
        both = [task for task in there if task in last]
        if both:
            fall = torch.stack([(last[task] / losses[task]).log() for task in both])
            torch.autograd.backward(torch.cat([logits[task] for task in both]).softmax(0) @ fall)
        for task in both:
            optimizers[task].step()
            optimizers[task].zero_grad()
        last = {task: losses[task] for task in there}
        assert_close(balancer.logits, torch.cat(logits).detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("losses", [TWO, THREE, [1e-3, 4.0, 1e3, 7.0, 1.0]])
@pytest.mark.parametrize(
    ("make", "make_peer"),
    [
        (Static, lambda count: peer.Sum()),
        (GeometricMean, lambda count: peer.GeometricMean()),
        (Uncertainty, lambda count: peer.UW(count).double()),
        (IMTLL, lambda count: peer.IMTLL(count).double()),
        (lambda: SmoothTchebycheff(mu=0.3), lambda count: peer.STCH(mu=0.3)),
    ],
)
def test_as_the_peer(make: Maker, make_peer: Callable[[int], peer.Scalarizer], losses: list[float]) -> None:
    leaf = tensor(losses).requires_grad_()
    value = make_peer(len(losses))(leaf)
    (expected,) = torch.autograd.grad(value, leaf)
    assert_close(make()(tensor(losses)), value.detach(), rtol=1e-4, atol=1e-12)
    assert_close(weights(make(), tensor(losses)), expected, rtol=1e-4, atol=1e-12)


def test_means_of_losses_leave_no_range_of_floats() -> None:
    many = torch.cat([torch.full((40,), 1e-6), torch.full((40,), 1e6)])
    assert_close(GeometricMean()(many), torch.tensor(1.0), rtol=1e-2, atol=0)
    assert_close(SmoothTchebycheff(mu=1e-6)(many), torch.tensor(1e6 / 80), rtol=1e-5, atol=0)


def test_the_smooth_maximum_is_one_for_small_mu() -> None:
    losses, given = tensor(THREE), tensor([3.0, 1.0, 6.0])
    balancer = SmoothTchebycheff(mu=1e-4, preferences=given.tolist())
    assert_close(balancer(losses), (losses * given / given.sum()).max(), rtol=1e-6, atol=0)


# Random weights


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_random_weights_are_new_at_each_step_and_add_up_to_one(distribution: Literal["normal", "dirichlet"]) -> None:
    balancer = built(lambda: RandomWeights(distribution))
    drawn = torch.stack(run(balancer, rows(2000)))
    assert_close(drawn.sum(1), torch.ones(2000, dtype=torch.float64), rtol=1e-6, atol=0)
    assert_close(drawn.mean(0), torch.full((4,), 0.25, dtype=torch.float64), rtol=0, atol=0.02)
    assert len({tuple(row) for row in drawn.tolist()}) == 2000
    if distribution == "dirichlet":  # the variance of one of K weights is (K - 1) / (K^2 (K + 1))
        assert_close(drawn.var(0), torch.full((4,), 3 / 80, dtype=torch.float64), rtol=0.15, atol=0)


def test_random_weights_depend_on_seed_and_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = rows(5)
    first = run(built(RandomWeights), steps)
    torch.manual_seed(1)
    assert_close(run(built(RandomWeights), steps), first, rtol=0, atol=0)
    assert_close(run(built(lambda: RandomWeights(seed=0)), steps), first, rtol=0, atol=0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    other = run(built(RandomWeights), steps)
    assert_close(run(built(lambda: RandomWeights(seed=7)), steps), other, rtol=0, atol=0)
    assert not torch.equal(first[0], other[0])


def test_tasks_that_are_there_share_what_they_drew() -> None:
    balancer, losses = built(RandomWeights), rows(1)[0]
    balancer.observe(losses, 3, 0)
    whole = weights(balancer, losses)[[1, 3]]
    assert_close(weights(balancer, losses[[1, 3]], [1, 3]), whole / whole.sum())


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Static([1.0, -1.0]), r"`weights\[1\]` must be finite and at least 0, got -1.0"),
        (lambda: Static({"a": math.nan}), r"`weights\['a'\]` must be finite"),
        (lambda: Static({"a": math.inf}), r"`weights\['a'\]` must be finite"),
        (lambda: SoftmaxUncertainty(0.0), "`temperature` must be above 0, got 0.0"),
        (lambda: DynamicWeightAverage(-1.0), "`temperature` must be above 0, got -1.0"),
        (lambda: SmoothTchebycheff(mu=0.0), "`mu` must be finite and above 0, got 0.0"),
        (lambda: SmoothTchebycheff(preferences=[1.0, 0.0]), r"`preferences\[1\]` must be finite and above 0"),
        (lambda: FAMO(lr=-1.0), "`lr` must be finite and at least 0, got -1.0"),
        (lambda: FAMO(gamma=math.nan), "`gamma` must be finite"),
        (lambda: FAMO(min_losses=[math.nan]), r"`min_losses\[0\]` must be finite"),
    ],
)
def test_arguments_out_of_their_range(make: Maker, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("argument", ["weights", "preferences", "min_losses"])
def test_numbers_of_tasks_are_checked_against_their_names(argument: str) -> None:
    make = {"weights": Static, "preferences": SmoothTchebycheff, "min_losses": FAMO}[argument]
    with pytest.raises(ValueError, match=rf"`{argument}` must be numbers of all tasks \['a', 'b'\].* Add \['b'\]"):
        make(**{argument: {"a": 1.0, "c": 2.0}}).build(["a", "b"])
    with pytest.raises(ValueError, match=f"`{argument}` must be one number for each of"):
        make(**{argument: [1.0, 2.0, 3.0]}).build(["a", "b"])
    make(**{argument: {"a": 1.0, "b": 2.0, "c": 3.0}}).build(["b"])  # a twin


@each()
def test_more_losses_than_tasks(make: Maker) -> None:
    balancer = built(make)
    with pytest.raises(ValueError, match="`losses` must be one for each of 4 tasks, got 3"):
        balancer(rows(1)[0][:3])
    with pytest.raises(ValueError, match="`losses` must be one for each of 2 tasks, got 4"):
        balancer(rows(1)[0], [0, 1])
