"""Sampling rules: how often each source is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from random import Random
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl import samplers
from lightning_mtl.samplers import (
    Annealed,
    DynamicTaskPrioritization,
    Exp3S,
    Explicit,
    ForgettingDriven,
    FunctionOfStep,
    Phase,
    Phases,
    Proportional,
    Rule,
    Signals,
    Smoothing,
    Temperature,
    Uniform,
    shares,
)
from tests.cases import over

GLUE = {"CoLA": 8551, "SST-2": 67349, "MRPC": 3668, "STS-B": 5749, "QQP": 363846, "MNLI": 392702, "QNLI": 104743}
GLUE |= {"RTE": 2490}
NAMES = "abcdefgh"
NAN = math.nan
Known = Mapping[str, Mapping[str, float]]
"""{"losses": {source: loss}, ...} of one round."""


def waves(step: int) -> dict[str, float]:
    """Rates by name that go up and down."""
    return {name: 1 + math.sin(step + number) for number, name in enumerate(NAMES)}


RATES = {name: 0.5 + number for number, name in enumerate(NAMES)}
BY_SIZE: list[Callable[[], Rule]] = [
    Proportional,
    Temperature,
    lambda: Temperature(5.0, cap=3000.0),
    lambda: Temperature(0.01),
    Smoothing,
    lambda: Annealed(epochs=3),
]
OF_STEP: list[Callable[[], Rule]] = [
    *BY_SIZE,
    Uniform,
    lambda: Explicit(RATES),
    lambda: FunctionOfStep(waves),
    lambda: Phases([Phase([name], passes=0.5) for name in NAMES]),
    lambda: Phases([Phase([*NAMES[:2]], steps=3), Phase([*NAMES], rates=RATES)], repeat=False),
]
DYNAMIC: list[Callable[[], Rule]] = [
    Exp3S,
    lambda: Exp3S(learning_rate=2.0, mixing=0.0, exploration=0.01),
    lambda: Exp3S(mixing=1.0),
    DynamicTaskPrioritization,
    lambda: DynamicTaskPrioritization(gamma=200.0, momentum=0.9, exploration=0.01),
    ForgettingDriven,
    lambda: ForgettingDriven(Annealed(epochs=3), strength=100.0, tolerance=0.1),
]
STATIC = [make for make in OF_STEP if make().constant]


def describe(make: Callable[[], Rule]) -> str:
    return repr(make())


def sampled(count: int, seed: int = 0) -> dict[str, int]:
    """Sizes from ten rows to a million, a different one for each source."""
    random = Random(seed)
    return {name: int(10 ** random.uniform(1, 6)) for name in NAMES[:count]}


SIZES = [sampled(count, seed) for count in (1, 2, 3, 8) for seed in range(3)]


def signals(sizes: Mapping[str, float], known: Known | None = None, **options: Any) -> Signals:
    rows = torch.tensor([*sizes.values()], dtype=torch.float64)
    told = {what: torch.tensor([of[name] for name in sizes]) for what, of in (known or {}).items()}
    every: dict[str, Any] = {"steps_per_epoch": 10, **options, **told}
    return Signals(tuple(sizes), rows, (rows / 25).ceil(), **every)


def rounds(names: Sequence[str], count: int = 12, seed: int = 0) -> list[Known]:
    """What a run may tell, at its worst: losses and scores that are missing or extreme, sources that were not drawn."""
    random = Random(seed)
    losses, scores = [NAN, 0.0, 1e9, math.inf], [NAN, 0.0, 1.0, -1.0]
    told: list[Known] = [{}]
    for _ in range(count):
        told.append(
            {
                "losses": {n: random.choice([*losses, *(random.uniform(0, 3) for _ in range(6))]) for n in names},
                "scores": {n: random.choice([*scores, *(random.random() for _ in range(6))]) for n in names},
                "draws": {n: random.choice([NAN, 0.0, 1.0, 50.0, 1e6]) for n in names},
            }
        )
    return told


def run(rule: Rule, sizes: Mapping[str, float], told: Sequence[Known], start: int = 0) -> list[Tensor]:
    """Rates of each round."""
    return [shares(rule, 4 * number, signals(sizes, known)) for number, known in enumerate(told, start)]


def given(
    step: int = 0, sizes: Mapping[str, float] | None = None, **known: Sequence[float]
) -> Callable[[Rule], Tensor]:
    """Ask for the shares of sources that are known by position."""
    of = sizes or dict.fromkeys(NAMES[: len(next(iter(known.values())))], 100)
    told = {what: dict(zip(of, values, strict=True)) for what, values in known.items()}
    return lambda rule: shares(rule, step, signals(of, told))


# Theorems


@pytest.mark.parametrize("make", [*OF_STEP, *DYNAMIC], ids=describe)
@over("sizes", SIZES, ids=str)
def test_rates_are_a_distribution(make: Callable[[], Rule], sizes: dict[str, int]) -> None:
    for rates in run(make(), sizes, rounds([*sizes])):
        assert rates.shape == (len(sizes),)
        assert bool(rates.isfinite().all())
        assert bool((rates >= 0).all())
        assert_close(rates.sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("make", DYNAMIC, ids=describe)
@over("sizes", SIZES, ids=str)
def test_rules_with_feedback_let_no_source_starve(make: Callable[[], Rule], sizes: dict[str, int]) -> None:
    assert all(bool((rates > 0).all()) for rates in run(make(), sizes, rounds([*sizes], 60)))


@pytest.mark.parametrize("make", [*OF_STEP, *DYNAMIC], ids=describe)
@over("sizes", SIZES, ids=str)
def test_the_order_of_sources_is_irrelevant(make: Callable[[], Rule], sizes: dict[str, int]) -> None:
    names = [*sizes]
    Random(1).shuffle(names)
    moved = {name: sizes[name] for name in names}
    order = [[*sizes].index(name) for name in names]
    told = rounds([*sizes])
    for there, here in zip(run(make(), moved, told), run(make(), sizes, told), strict=True):
        assert_close(there, here[order])


@pytest.mark.parametrize("make", OF_STEP, ids=describe)
def test_rules_without_feedback_depend_on_nothing_but_the_step(make: Callable[[], Rule]) -> None:
    known = signals(sampled(8), epochs=3)
    rule, steps = make(), [*range(60), *range(60, 10**6, 9973)]
    in_order = {step: rule.rates(step, known) for step in steps}
    Random(0).shuffle(steps)
    assert all(torch.equal(rule.rates(step, known), in_order[step]) for step in steps)
    assert not rule.feedback
    assert rule.state_dict() == {}
    rule.load_state_dict({})
    constant = all(torch.equal(rates, in_order[0]) for rates in in_order.values())
    assert constant == rule.constant


@pytest.mark.parametrize("make", BY_SIZE, ids=describe)
@over("sizes", SIZES, ids=str)
def test_larger_sources_are_drawn_at_least_as_often(make: Callable[[], Rule], sizes: dict[str, int]) -> None:
    rates = shares(make(), 0, signals(sizes))
    by_size = rates[torch.tensor([*sizes.values()]).argsort()]
    assert bool((by_size.diff() >= 0).all())


@over("sizes", SIZES, ids=str)
def test_temperature_and_smoothing_lie_between_proportional_and_uniform(sizes: dict[str, int]) -> None:
    known = signals(sizes)
    proportional, uniform = shares(Proportional(), 0, known), shares(Uniform(), 0, known)
    assert_close(proportional, known.rows / known.rows.sum())
    for rule in (Temperature(1.0), Smoothing(1.0), Annealed(1.0, 1.0, epochs=1)):
        assert_close(shares(rule, 0, known), proportional)
    for rule in (Temperature(math.inf), Smoothing(0.0), Temperature(cap=1.0), Annealed(0.0, 1.0, epochs=1)):
        assert_close(shares(rule, 0, known), uniform)
    assert_close(shares(Temperature(1e9), 0, known), uniform, atol=1e-7, rtol=0)
    for temperature in (1.0, 2.0, 3.7, 100.0):
        assert_close(shares(Temperature(temperature), 0, known), shares(Smoothing(1 / temperature), 0, known))


@over("sizes", [sizes for sizes in SIZES if len(sizes) > 1], ids=str)
def test_the_higher_the_temperature_the_more_alike_are_rates(sizes: dict[str, int]) -> None:
    rates = [shares(Temperature(temperature), 0, signals(sizes)) for temperature in (0.5, 1.0, 2.0, 5.0, 50.0)]
    entropies = [float(torch.special.entr(each).sum()) for each in rates]
    assert all(low < high for low, high in pairwise(entropies))


@pytest.mark.parametrize("make", DYNAMIC, ids=describe)
@over("sizes", [sampled(2), sampled(8)], ids=str)
def test_a_restored_rule_goes_on_as_the_unbroken_one(make: Callable[[], Rule], sizes: dict[str, int]) -> None:
    told: list[Known] = rounds([*sizes], 20, seed=1)[1:]
    told = [{**known, "scores": {n: 0.5 * score for n, score in known["scores"].items()}} for known in told]
    told += [{}, *rounds([*sizes], 20, seed=2)]  # a round that tells nothing, so that what is remembered shows
    unbroken, file = make(), io.BytesIO()
    run(unbroken, sizes, told[:20])
    torch.save(unbroken.state_dict(), file)
    state = unbroken.state_dict()
    expected = run(unbroken, sizes, told[20:], start=20)
    restored, early, fresh = make(), make(), make()
    restored.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    early.load_state_dict(state)  # which rounds after it was taken did not touch
    for other in (restored, early):
        assert all(map(torch.equal, run(other, sizes, told[20:], start=20), expected))
    assert not all(map(torch.equal, run(fresh, sizes, told[20:], start=20), expected))
    assert restored.state_dict() == unbroken.state_dict()
    assert state != unbroken.state_dict()


@pytest.mark.parametrize(
    "make", [make for make in [*OF_STEP, *DYNAMIC] if "Function" not in describe(make)], ids=describe
)
def test_a_rule_is_made_again_of_what_it_writes(make: Callable[[], Rule]) -> None:
    written = repr(make())
    again = eval(written, {**vars(samplers), "inf": math.inf})
    assert repr(again) == written
    assert torch.equal(again.rates(7, signals(sampled(8))), make().rates(7, signals(sampled(8))))


def test_rules_write_all_their_arguments() -> None:
    assert repr(Temperature()) == "Temperature(temperature=2.0, cap=None)"
    assert repr(Uniform()) == "Uniform()"
    assert repr(Explicit({"a": 1.0})) == "Explicit(rates={'a': 1.0})"
    assert repr(FunctionOfStep(waves)) == "FunctionOfStep(function=waves)"
    base = "base=Proportional(), strength=10.0, tolerance=0.0"
    assert repr(ForgettingDriven()) == f"ForgettingDriven({base})"


# What the papers print


def test_temperature_is_that_of_t5() -> None:
    """r_t = min(n_t, K)^(1/T) / sum_s min(n_s, K)^(1/T), computed with plain numbers."""
    powers = {name: min(rows, 100_000) ** (1 / 3) for name, rows in GLUE.items()}
    rates = shares(Temperature(3.0, cap=100_000.0), 0, signals(GLUE))
    assert_close(rates.tolist(), [power / sum(powers.values()) for power in powers.values()])


def test_annealed_is_that_of_pals() -> None:
    """The four small GLUE tasks get 2.2% of the draws in the first of 25 epochs and 32% in the last."""
    small = [[*GLUE].index(name) for name in ("RTE", "MRPC", "CoLA", "STS-B")]
    known = signals(GLUE, epochs=25, steps_per_epoch=2400)
    share = [float(shares(Annealed(), 2400 * epoch, known)[small].sum()) for epoch in range(25)]
    assert (f"{share[0]:.1%}", f"{share[-1]:.0%}") == ("2.2%", "32%")
    assert all(low < high for low, high in pairwise(share))


def test_annealed_goes_in_a_line_and_stays() -> None:
    known = signals(GLUE, epochs=5, steps_per_epoch=10)
    rule = Annealed(start=1.0, end=0.2)
    exponents = [rule.exponent(step, known) for step in (0, 9, 10, 20, 30, 39, 40, 49, 50, 10_000)]
    assert exponents == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2])
    for step, exponent in ((0, 1.0), (20, 0.6), (45, 0.2)):
        assert_close(shares(rule, step, known), shares(Smoothing(exponent), step, known))
    assert Annealed(epochs=3).exponent(10, known) == pytest.approx(0.6)  # rather than the five of the training
    assert Annealed(0.7, 0.1, epochs=1).exponent(25, known) == 0.7


# Rates that are given


def test_given_rates_are_brought_into_the_order_of_the_sources() -> None:
    known = signals({"b": 5, "a": 7})
    for rule in (Explicit({"a": 1.0, "b": 3.0, "twin": 9.0}), FunctionOfStep(lambda _: {"c": 1.0, "a": 1.0, "b": 3.0})):
        assert rule.rates(0, known).tolist() == [3.0, 1.0]
    assert FunctionOfStep(lambda step: [float(step), 1.0]).rates(4, known).tolist() == [4.0, 1.0]
    rates = {"a": 1.0, "b": 0.0}
    rule = Explicit(rates)
    rates["b"] = 5.0
    assert rule.rates(0, known).tolist() == [0.0, 1.0]


# Phases


def walked(phases: Sequence[Phase], known: Signals, repeat: bool, steps: int) -> list[int]:
    """Walk through the phases, one step after the other."""
    batches = dict(zip(known.sources, known.batches.tolist(), strict=True))
    numbers: list[int] = []
    while len(numbers) < steps:
        for number, phase in enumerate(phases):
            last = number == len(phases) - 1 and not repeat
            length = phase.steps or math.ceil((phase.passes or 0) * sum(batches[name] for name in phase.sources))
            numbers += [number] * (steps if last else length)
    return numbers[:steps]


@pytest.mark.parametrize("repeat", [True, False])
@over("seed", range(5))
def test_any_step_finds_the_phase_that_a_walk_reaches(seed: int, repeat: bool) -> None:
    random = Random(seed)
    sizes = {name: random.randint(1, 300) for name in NAMES}
    phases = []
    for _ in range(random.randint(1, 5)):
        sources = random.sample(NAMES, random.randint(1, 4))
        length: dict[str, Any] = random.choice(
            [{"steps": random.randint(1, 20)}, {"passes": random.choice([0.5, 1.0, 2.0])}]
        )
        phases.append(Phase(sources, **length, rates=random.choice([None, dict.fromkeys(sources, 2.0)])))
    if not repeat:
        phases[-1] = Phase(phases[-1].sources)
    known, rule = signals(sizes), Phases(phases, repeat=repeat)
    expected = walked(phases, known, repeat, 300)
    for step in random.sample(range(300), 300):
        assert rule.phase(step, known) == expected[step]
        rates = dict(zip(sizes, shares(rule, step, known).tolist(), strict=True))
        phase = phases[expected[step]]
        weights = phase.rates or {name: math.ceil(sizes[name] / 25) for name in phase.sources}
        wanted = {name: weights.get(name, 0) / sum(weights.values()) for name in sizes}
        assert rates == pytest.approx(wanted)


@pytest.mark.parametrize("repeat", [True, False])
@over("seed", range(5))
def test_phases_that_came_before_are_those_that_a_walk_has_left(seed: int, repeat: bool) -> None:
    lengths = [Random(seed + i).randint(1, 6) for i in range(4)]
    rule, known = Phases([Phase(["a"], steps=n) for n in lengths], repeat=repeat), signals({"a": 30})
    left = [list(range(number)) for number, n in enumerate(lengths) for _ in range(n)]
    left += [[0, 1, 2, 3] if repeat else [0, 1, 2]] * 20
    assert [rule.passed(step, known) for step in range(len(left))] == left


def test_a_phase_draws_the_sources_that_are_there() -> None:
    known = signals({"a": 30, "b": 20, "c": 10})
    rule = Phases(
        [Phase(["b", "a"], steps=1), Phase(["x"], steps=1), Phase(["a", "c"], steps=1, rates={"a": 0.0, "c": 1.0})]
    )
    assert rule.drawn(known) == {0: ["a", "b"], 2: ["c"]}
    assert [rule.passed(step, known) for step in range(4)] == [[], [0], [0, 2], [0, 2]]


def drawn(rule: Phases, known: Signals, steps: int) -> str:
    """Sources of each step, where a phase has one source each, with how many steps they last."""
    rates = [shares(rule, step, known) for step in range(steps)]
    assert all(float(each.max()) == 1 for each in rates)
    names = [known.sources[int(each.argmax())] for each in rates]
    return " ".join(f"{name}{len([*run])}" for name, run in groupby(names))


JMT = {"pos": 75, "chunk": 50, "dep": 30}
"""Three, two and two batches of 25."""


def test_an_epoch_of_jmt_passes_the_sources_in_their_order() -> None:
    rule = Phases([Phase([name], passes=1.0) for name in JMT])
    assert drawn(rule, signals(JMT), 17) == "pos3 chunk2 dep2 pos3 chunk2 dep2 pos3"


def test_tasks_in_a_row_end_in_the_last() -> None:
    rule = Phases([Phase(["pos"], passes=2.0), Phase(["chunk"], steps=1), Phase(["dep"])], repeat=False)
    assert drawn(rule, signals(JMT), 100) == "pos6 chunk1 dep93"
    ended = Phases([Phase(["pos"], steps=4), Phase(["chunk"], steps=1)], repeat=False)
    assert drawn(ended, signals(JMT), 20) == "pos4 chunk16"


def test_a_curriculum_takes_in_one_source_after_the_other() -> None:
    stages = [Phase([*JMT][:count], steps=10) for count in (1, 2, 3)]
    rule = Phases(stages, repeat=False)
    rates = [shares(rule, step, signals(JMT)).tolist() for step in (0, 10, 29, 99)]
    assert rates == [pytest.approx(each) for each in ([1, 0, 0], [3 / 5, 2 / 5, 0], *[[3 / 7, 2 / 7, 2 / 7]] * 2)]


def test_passes_are_rounded_up_but_not_for_a_rounding_error() -> None:
    for passes, steps in ((0.07, 7), (0.001, 1), (0.555, 56), (1.0, 100)):
        rule = Phases([Phase(["a"], passes=passes), Phase(["b"], steps=1)])
        assert drawn(rule, signals({"a": 2500, "b": 1}), steps + 1) == f"a{steps} b1"


def test_a_twin_leaves_out_the_phases_of_others() -> None:
    rule = Phases([Phase(["pos", "chunk"], passes=1.0), Phase(["dep"], passes=1.0), Phase(["chunk"], steps=4)])
    chunk = signals({"chunk": 50})
    assert [rule.phase(step, chunk) for step in range(8)] == [0, 0, 2, 2, 2, 2, 0, 0]
    assert {rule.phase(step, signals({"dep": 30})) for step in range(8)} == {1}
    row = Phases([Phase(["pos"], passes=1.0), Phase(["dep"])], repeat=False)
    assert [row.phase(step, signals({"pos": 75})) for step in range(9)] == [0] * 9


def test_phases_ask_only_the_sources_whose_batches_they_need() -> None:
    known = signals({"pos": 75, "stream": NAN})
    rule = Phases([Phase(["pos"], passes=1.0), Phase(["stream"], steps=2, rates={"stream": 1.0})])
    assert drawn(rule, known, 10) == "pos3 stream2 pos3 stream2"
    for phase in (Phase(["stream"], passes=1.0), Phase(["stream", "pos"], steps=1)):
        with pytest.raises(
            ValueError, match=r"needs the number of batches of every source, but that of \['stream'\] is not known"
        ):
            Phases([phase]).rates(0, known)


# Exp3.S


def exp3s(
    sources: int, seen: Sequence[tuple[int, float]], eta: float, alpha: float | None, eps: float
) -> list[list[float]]:
    """Policies after single draws of (source, loss), written from the papers with plain numbers."""
    weights, last, history, t = [0.0] * sources, dict[int, float](), list[float](), 1
    policies = []
    for arm, loss in seen:
        if arm in last:
            history.append(last[arm] - loss)
            low, high = np.quantile(history, [0.2, 0.8])
            inside = 2 * (history[-1] - low) / (high - low) - 1 if high > low else 0.0
            reward = -1.0 if history[-1] < low else 1.0 if history[-1] > high else inside
            chance = (1 - eps) * math.exp(weights[arm]) / sum(map(math.exp, weights)) + eps / sources
            moved = [math.exp(w + (eta * reward / chance if i == arm else 0)) for i, w in enumerate(weights)]
            t += 1
            a = 1 / t if alpha is None else alpha
            weights = [math.log((1 - a) * m + a / (sources - 1) * (sum(moved) - m)) for m in moved]
        last[arm] = loss
        policies.append([(1 - eps) * math.exp(w) / sum(map(math.exp, weights)) + eps / sources for w in weights])
    return policies


@pytest.mark.parametrize("mixing", [None, 0.01, 0.3])
@over("seed", range(4))
def test_single_draws_are_exp3s_to_the_letter(seed: int, mixing: float | None) -> None:
    random, sources = Random(seed), 2 + seed
    rule = Exp3S(learning_rate=0.2, mixing=mixing, exploration=0.1)
    seen: list[tuple[int, float]] = []
    rates, got = torch.ones(sources), []
    for step in range(50):
        arm, loss = random.choices(range(sources), rates.tolist())[0], random.expovariate(1 + step / 20)
        seen.append((arm, loss))
        ask = given(
            step,
            losses=[loss if i == arm else NAN for i in range(sources)],
            draws=[float(i == arm) for i in range(sources)],
        )
        rates = ask(rule)
        got.append(rates.tolist())
    assert_close(got, exp3s(sources, seen, 0.2, mixing, 0.1))
    assert max(map(max, got)) > 1 / sources + 0.03  # it did learn something


def bandit(rule: Rule, speed: Callable[[int], list[float]], count: int = 200) -> Tensor:
    """Shares of all rounds, where drawing a source lowers its loss at a speed, with noise: [rounds, sources]."""
    generator, made = torch.Generator().manual_seed(0), []
    losses, draws = torch.full((3,), 50.0), torch.full((3,), NAN)
    for number in range(count):
        noisy = (losses + 0.01 * torch.randn(3, generator=generator)).tolist()
        rates = given(number, losses=noisy if number else [NAN] * 3, draws=draws.tolist())(rule)
        made.append(rates)
        draws = rates.multinomial(100, replacement=True, generator=generator).bincount(minlength=3).float()
        losses = losses - torch.tensor(speed(number)) * draws / 100
    return torch.stack(made)


@pytest.mark.parametrize("mixing", [None, 0.01])
@pytest.mark.parametrize("source", range(3))
def test_progress_is_drawn_more_often(source: int, mixing: float | None) -> None:
    made = bandit(Exp3S(mixing=mixing), lambda _: [0.3 * (i == source) for i in range(3)])
    assert float(made[-50:, source].mean()) > 0.6


def test_a_plateau_is_drawn_less_often() -> None:
    """Source 0 learns for 100 rounds; then 1 does."""
    made = bandit(Exp3S(mixing=0.02), lambda number: [0.3 * (number < 100), 0.3 * (number >= 100), 0.0], 300)
    before, after = made[80:100].mean(0), made[-20:].mean(0)
    assert float(before[0]) > 0.6
    assert float(after[0]) < 1 / 3
    assert float(after[1]) > 0.6


@pytest.mark.parametrize("unknown", [NAN, math.inf])
@pytest.mark.parametrize("rows", [0.0, 50.0])
def test_a_source_without_a_loss_moves_by_mixing_alone(unknown: float, rows: float) -> None:
    unmixed, mixed = Exp3S(mixing=0.0), Exp3S(mixing=0.2)
    for rule in (unmixed, mixed):
        for loss in (3.0, 2.0, 2.5, 1.0):
            given(losses=[loss, 2.0, unknown], draws=[50.0, 50.0, rows])(rule)
    assert unmixed.state_dict()["weights"]["c"] == pytest.approx(0.0, abs=1e-12)
    assert abs(mixed.state_dict()["weights"]["c"]) > 0.01


def test_a_window_that_tells_nothing_is_no_round() -> None:
    rule = Exp3S()
    for losses in ([NAN, NAN], [2.0, NAN], [NAN, 1.0], [math.inf, NAN], [NAN, NAN]):
        assert given(losses=losses, draws=[1.0, 1.0])(rule).tolist() == [0.5, 0.5]
    assert rule.state_dict()["round"] == 1
    assert rule.state_dict()["losses"] == {"a": 2.0, "b": 1.0}
    given(losses=[1.0, 2.0], draws=[1.0, 1.0])(rule)
    learnt = rule.state_dict()
    assert learnt["round"] == 2
    given(losses=[NAN, NAN], draws=[1.0, 1.0])(rule)
    assert rule.state_dict() == learnt


def test_rewards_are_scaled_by_the_last_thousand() -> None:
    rule = Exp3S()
    for number in range(1200):
        given(losses=[-float(number * number)], draws=[1.0])(rule)
    kept = rule.state_dict()["rewards"]
    assert len(kept) == 1000
    assert kept[-1] == 1199**2 - 1198**2


@pytest.mark.parametrize("mixing", [None, 0.0, 1.0])
def test_a_single_source_is_always_drawn(mixing: float | None) -> None:
    rule = Exp3S(mixing=mixing)
    assert [given(losses=[loss], draws=[9.0])(rule).tolist() for loss in (3.0, 2.0, 2.5)] == [[1.0]] * 3


# Scores


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
@over("seed", range(4))
def test_priorities_are_those_of_the_paper(seed: int, gamma: float) -> None:
    random = Random(seed)
    scores = [random.uniform(0.05, 0.99) for _ in range(4)]
    priority = [-((1 - kappa) ** gamma) * math.log(kappa) for kappa in scores]
    expected = [0.9 * each / sum(priority) + 0.1 / 4 for each in priority]
    rates = given(scores=scores)(DynamicTaskPrioritization(gamma, exploration=0.1))
    assert_close(rates, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=1e-5)
    assert rates.argsort().tolist() == torch.tensor(scores).argsort(descending=True).tolist()


def test_priorities_follow_an_average_of_scores() -> None:
    averaged, latest = DynamicTaskPrioritization(momentum=0.75), DynamicTaskPrioritization()
    for scores in ([0.2, 0.9], [0.6, 0.5], [NAN, 0.7]):
        rates = given(scores=scores)(averaged)
    assert_close(averaged.state_dict()["scores"], {"a": 0.3, "b": 0.775}, atol=1e-6, rtol=0)
    assert_close(rates, given(scores=[0.3, 0.775])(latest))


def test_a_source_without_a_score_gets_the_mean() -> None:
    rule = DynamicTaskPrioritization(exploration=0.1)
    assert_close(given(scores=[NAN] * 3)(rule), torch.full((3,), 1 / 3, dtype=torch.float64))
    rates = given(scores=[0.5, NAN, 0.9])(rule)
    assert float(rates[1]) == pytest.approx(1 / 3)
    assert float(rates[0]) > float(rates[1]) > float(rates[2])


def test_scores_beyond_the_edges_are_the_hardest_and_the_easiest() -> None:
    edges = given(scores=[-0.3, 0.0, 0.5, 1.0])(DynamicTaskPrioritization())
    assert edges[0] == edges[1] > edges[2] > edges[3]
    assert float(edges[3]) == pytest.approx(0.05 / 4)
    given(scores=[0.5, 1 + 1e-7])(DynamicTaskPrioritization())  # a correlation may be rounded up
    averaged = DynamicTaskPrioritization(momentum=0.5)
    for scores in ([-9.0, 0.5], [0.5, 0.5]):
        given(scores=scores)(averaged)
    assert averaged.state_dict()["scores"] == {"a": 0.25, "b": 0.5}


@pytest.mark.parametrize("base", [None, Temperature(3.0), Explicit(RATES), Annealed(epochs=4)], ids=repr)
@over("forgotten", range(3))
def test_the_source_that_is_forgotten_is_raised_and_no_other(forgotten: int, base: Rule | None) -> None:
    sizes, rule = sampled(3), ForgettingDriven(base, strength=5.0)
    plain = [shares(base or Proportional(), step, signals(sizes)) for step in range(30)]
    best = [0.9, 0.8, 0.5]
    assert_close(given(0, sizes, scores=[NAN] * 3)(rule), plain[0])
    assert_close(given(5, sizes, scores=best)(rule), plain[5])
    assert_close(given(10, sizes, scores=[score + 0.05 for score in best])(rule), plain[10])
    now = [score + 0.05 - 0.25 * (i == forgotten) for i, score in enumerate(best)]
    raised = plain[15] + torch.tensor([5.0 / 3 * 0.25 if i == forgotten else 0.0 for i in range(3)]).double()
    assert_close(given(15, sizes, scores=now)(rule), raised / raised.sum())
    assert_close(given(20, sizes, scores=[NAN] * 3)(rule), plain[20])
    assert_close(given(25, sizes, scores=[score + 0.05 for score in best])(rule), plain[25])  # it has come back


def test_what_the_other_rule_has_left_is_drawn_again_while_it_is_forgotten() -> None:
    rule = ForgettingDriven(Phases([Phase(["a"], steps=5), Phase(["b", "c"])], repeat=False), strength=10.0)
    given(0, scores=[0.9, NAN, NAN])(rule)
    assert given(9, scores=[0.9, 0.5, 0.5])(rule)[0] == 0
    assert_close(given(9, scores=[0.8, 0.5, 0.5])(rule)[0].item(), (1 / 3) / (1 + 1 / 3))
    assert given(9, scores=[0.91, 0.5, 0.5])(rule)[0] == 0


def test_a_drop_within_the_tolerance_is_chance() -> None:
    rule = ForgettingDriven(Uniform(), strength=10.0, tolerance=0.1)
    given(scores=[0.9, 0.9, 0.9])(rule)
    rates = given(scores=[0.9, 0.82, 0.7])(rule)
    assert_close(rates / rates[0], torch.tensor([1.0, 1.0, 2.0]).double(), atol=1e-5, rtol=0)


# What is refused


ERRORS: list[tuple[Callable[[], object], str]] = [
    (lambda: Temperature(0.0), r"`temperature` must be above 0, got 0.0. 1 is proportional"),
    (lambda: Temperature(NAN), r"`temperature` must be above 0, got nan"),
    (lambda: Temperature(cap=0.0), r"`cap` must be above 0, got 0.0. None turns it off"),
    (lambda: Smoothing(1.1), r"`smoothing` must be from 0 to 1, got 1.1. 1 is proportional"),
    (lambda: Smoothing(-0.1), r"`smoothing` must be from 0 to 1, got -0.1"),
    (lambda: Explicit({}), r"`rates` must be rates of sources, got {}. Write {source: rate}"),
    (lambda: Explicit({"a": -1.0}), r"`rates\['a'\]` must be finite and at least 0, got -1.0. Use 0 for never"),
    (lambda: Explicit({"a": 1.0, "b": NAN}), r"`rates\['b'\]` must be finite and at least 0, got nan"),
    (lambda: Explicit({"a": 0.0}), r"`rates` must be above 0 for a source at least, got {'a': 0.0}. Draw at least one"),
    (lambda: Annealed(start=-1.0), r"`start` must be finite and at least 0, got -1.0"),
    (lambda: Annealed(end=math.inf), r"`end` must be finite and at least 0, got inf"),
    (
        lambda: Annealed(epochs=0),
        r"`epochs` must be a whole number of at least 1, got 0. None takes those of the training",
    ),
    (lambda: Phase([]), r"`sources` must be names of sources, got \[\]. Name what is drawn"),
    (lambda: Phase(["a", "a"]), r"`sources` must be named once each, got \['a', 'a'\]"),
    (lambda: Phase(["a"], steps=0), r"`steps` must be a whole number of at least 1, got 0. Leave the phase out"),
    (lambda: Phase(["a"], passes=0.0), r"`passes` must be finite and above 0, got 0.0"),
    (
        lambda: Phase(["a"], steps=1, passes=1.0),
        r"`steps`, `passes` or `epochs` must be the length of a phase, only one, got \[1, 1.0\]",
    ),
    (
        lambda: Phase(["chunk"], rates={"chnk": 1.0}),
        r"the phase's sources \['chunk'\], got 'chnk'. Did you mean 'chunk'\?",
    ),
    (lambda: Phase(["a"], rates={"xyz": 1.0}), r"got 'xyz'. Add it to `sources`, or drop its rate"),
    (
        lambda: Phase(["a", "b"], rates={"a": 1.0}),
        r"a rate for every source, got none for 'b'; rates are of \['a'\]. Give it one",
    ),
    (lambda: Phase(["a"], rates={"a": 0.0}), r"`rates` must be above 0 for a source at least"),
    (lambda: Phases([]), r"`phases` must be a list of `Phase`, got \[\]. Name at least one"),
    (lambda: Phases([Phase(["a"])]), r"`phases\[0\]` must be of a known length, .* Give `steps`, `passes` or `epochs`"),
    (lambda: Phases([Phase(["a"]), Phase(["b"])], repeat=False), r"`phases\[0\]` must be of a known length"),
    (lambda: Exp3S(learning_rate=0.0), r"`learning_rate` must be finite and above 0, got 0.0"),
    (lambda: Exp3S(mixing=1.5), r"`mixing` must be from 0 to 1, got 1.5. None makes it fall"),
    (lambda: Exp3S(exploration=0.0), r"`exploration` must be above 0 and at most 1, got 0.0"),
    (lambda: DynamicTaskPrioritization(gamma=-1.0), r"`gamma` must be finite and at least 0, got -1.0"),
    (lambda: DynamicTaskPrioritization(momentum=1.0), r"`momentum` must be at least 0 and below 1, got 1.0"),
    (lambda: DynamicTaskPrioritization(exploration=1.1), r"`exploration` must be above 0 and at most 1, got 1.1"),
    (lambda: ForgettingDriven(strength=-1.0), r"`strength` must be finite and at least 0, got -1.0. 0 turns it off"),
    (lambda: ForgettingDriven(tolerance=NAN), r"`tolerance` must be finite and at least 0, got nan"),
    (
        lambda: ForgettingDriven(Exp3S()),
        r"`base` must be a rule without feedback, got Exp3S\(.*\). Combine it with Prop",
    ),
]


@pytest.mark.parametrize(("make", "says"), ERRORS, ids=[says for _, says in ERRORS])
def test_arguments_that_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


FIRST = Phases([Phase(["chunk"], steps=1), Phase(["b"], steps=1)])
UNFIT: list[tuple[Rule, dict[str, float], str]] = [
    (Explicit({"sik": 1.0}), {"sick": 5}, r"got none for 'sick'; rates are of \['sik'\]. Did you mean 'sik'\?"),
    (Explicit({"xyz": 1.0}), {"sick": 5}, r"`rates` must hold a rate for every source, .* Give it one, 0 for never"),
    (
        Explicit({"a": 1.0, "b": 0.0}),
        {"b": 5},
        r"Rates of Explicit must not all be zero, got \[0.0\] for \['b'\] at step 3",
    ),
    (
        FunctionOfStep(lambda _: {"sik": 1.0}),
        {"sick": 5},
        r"`function` must hold a rate for every source, got none for 'sick'",
    ),
    (
        FunctionOfStep(lambda _: [1.0]),
        {"a": 5, "b": 5},
        r"one for each of the sources \['a', 'b'\], got shape \[1\] at step 3",
    ),
    (
        FunctionOfStep(lambda _: [1.0, -1.0]),
        {"a": 5, "b": 5},
        r"finite and not negative, got \[1.0, -1.0\] for \['a', 'b'\] at step 3",
    ),
    (
        FunctionOfStep(lambda _: [1.0, NAN]),
        {"a": 5, "b": 5},
        r"Rates of FunctionOfStep must be finite and not negative, got",
    ),
    (FunctionOfStep(lambda _: [0.0, 0.0]), {"a": 5, "b": 5}, r"must not all be zero, .* Draw at least one source"),
    (Annealed(), {"a": 5}, r"`epochs` must be known, got None from Annealed\(...\) and from the training.*max_epochs"),
    (
        FIRST,
        {"chunks": 5},
        r"`phases` must name sources, got 'chunk'; sources are \['chunks'\]. Did you mean 'chunks'\?",
    ),
    (FIRST, {"xyz": 5}, r"`phases` must name sources, got 'chunk'; sources are \['xyz'\]. Name some of these"),
]
UNFIT += [
    (
        make(),
        {"a": 5, "stream": NAN},
        r"\w+\(.*\) needs the number of rows of every source, but that of \['stream'\] is not known",
    )
    for make in (*BY_SIZE, ForgettingDriven)
]


@pytest.mark.parametrize(("rule", "sizes", "says"), UNFIT, ids=repr)
def test_sources_that_do_not_fit(rule: Rule, sizes: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shares(rule, 3, signals(sizes))


def test_a_score_above_one_is_of_no_metric_that_fits() -> None:
    with pytest.raises(
        ValueError, match=r"at most 1, got 3.5 of source 'b'. Give its tasks a main metric whose best value is 1"
    ):
        given(scores=[0.5, 3.5])(DynamicTaskPrioritization())


# From the command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["=Uniform"], "Uniform()"),
        (["=Temperature", ".temperature=5"], "Temperature(temperature=5.0, cap=None)"),
        (["=Explicit", ".rates={a: 1, b: 2.5}"], "Explicit(rates={'a': 1.0, 'b': 2.5})"),
        (["=Annealed", ".end=0.5", ".epochs=3"], "Annealed(start=1.0, end=0.5, epochs=3)"),
        (["=FunctionOfStep", ".function=tests.samplers.test_rules.waves"], "FunctionOfStep(function=waves)"),
        (["=Exp3S", ".mixing=0.1"], "Exp3S(learning_rate=0.1, mixing=0.1, exploration=0.05)"),
        (
            ["=Phases", ".phases=[{sources: [a], passes: 1}, {sources: [a, b]}]", ".repeat=false"],
            repr(Phases([Phase(["a"], passes=1.0), Phase(["a", "b"])], repeat=False)),
        ),
        (["=ForgettingDriven", ".base=Smoothing", ".base.smoothing=0.2"], repr(ForgettingDriven(Smoothing(0.2)))),
    ],
    ids=str,
)
def test_a_rule_can_be_said_on_the_command_line(arguments: list[str], says: str) -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--sampling", type=Rule)
    made = parser.instantiate(parser.parse_args([f"--sampling{argument}" for argument in arguments]))
    assert repr(made.sampling) == says
