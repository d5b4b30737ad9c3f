"""Each number that a user gives is refused where it is given, with the name of its argument, if it is none."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

import lightning_mtl
from lightning_mtl import (
    Binary,
    HardSharing,
    HierarchicalModule,
    Levels,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    StackedRecurrent,
    Task,
    split,
)
from lightning_mtl._checks import require_number
from lightning_mtl.adaptation import MAML, Adam
from lightning_mtl.balancers import FAMO, SmoothTchebycheff, Static
from lightning_mtl.callbacks import Replay, TaskEarlyStopping, TransferMonitor
from lightning_mtl.encoders import HashTokenizer
from lightning_mtl.families import Sinusoid
from lightning_mtl.metrics import Forgetting, WorstCase
from lightning_mtl.optim import FineTuning
from lightning_mtl.samplers import EpisodeSampler, Explicit, Rows

ROWS = [{"x": [1.0, 2.0], "y": 1}]


def _network() -> dict[str, Any]:
    return {"tasks": [Task("a", head=Binary())], "encoder": HardSharing(nn.Linear(2, 3), width=3)}


def _levels() -> dict[str, Any]:
    return {"tasks": [Task("a", head=Binary())], "encoder": StackedRecurrent(4, 2, embedding=4, buckets=9)}


def _streams() -> dict[str, Any]:
    return {"streams": {"a": Rows(6, 2)}}


OTHERS: dict[str, Callable[[], dict[str, Any]]] = {
    "Task": lambda: {"name": "a"},
    "Source": lambda: {"dataset": ROWS},
    "split": lambda: {"rows": ROWS * 9},
    "MultiTaskModule": _network,
    "HierarchicalModule": _levels,
    "MetaLearningModule": _network,
    "MultiTaskDataModule": lambda: {"sources": {"a": ROWS}},
    "EpisodeDataModule": lambda: {"sources": {"a": Sinusoid()}},
    "HardSharing": lambda: {"trunk": nn.Linear(2, 3)},
    "Levels": lambda: {"trunk": nn.Sequential(nn.Linear(2, 3))},
    "HuggingFace": lambda: {"name": "none"},
    "HuggingFaceLevels": lambda: {"trunk": None},
    "Multiclass": lambda: {"classes": 3},
    "Multilabel": lambda: {"labels": 3},
    "Tagging": lambda: {"tags": 3},
    "adaptation.Cloning": lambda: {"learner": "encoder"},
    "arms.compare_arms": lambda: {"arms": {"a": None, "b": None}, "data": None, "trainer": None},
    "callbacks.Distillation": lambda: {"strength": 1.0},
    "callbacks.ElasticWeightConsolidation": lambda: {"strength": 1.0},
    "comparison.compare": lambda: dict.fromkeys(("build", "data", "trainer")),
    "comparison.score": lambda: dict.fromkeys(("build", "data", "trainer")),
    "learn2learn.episodes_of_taskset": lambda: {"taskset": None, "shots": 1},
    "learn2learn.from_learn2learn": lambda: {
        "learner": SimpleNamespace(module=nn.Linear(2, 3), lr=0.1, first_order=True)
    },
    "meta.score_episodes": lambda: dict.fromkeys(("module", "data")),
    "metrics.BackwardTransfer": lambda: {"tasks": 2},
    "metrics.DeltaM": lambda: {"higher_is_better": [True]},
    "metrics.Drawdown": lambda: {"tasks": 2},
    "metrics.Forgetting": lambda: {"tasks": 2},
    "metrics.ForwardTransfer": lambda: {"tasks": 2, "initial": [0.5, 0.5]},
    "metrics.SpanF1": lambda: {"names": ["O", "B-PER"]},
    "metrics.MeanRank": lambda: {"higher_is_better": [True]},
    "placement.search_placement": lambda: dict.fromkeys(("build", "data", "trainer")),
    "samplers.EpisodeSampler": lambda: {"rows": {"a": range(20)}, "ways": 1},
    "samplers.EvaluationSampler": _streams,
    "samplers.MultiTaskSampler": _streams,
    "samplers.Phase": lambda: {"sources": ["a"]},
    "samplers.Rows": lambda: {"rows": 6, "batch": 2},
    "samplers.refuse_sizes": lambda: {"ways": 1, "shots": 1, "queries": 1},
    "sweep.search": lambda: {"path": "none.yaml"},
    "weight_search.draw_weights": lambda: {"names": ["a", "b"], "trials": 2},
    "weight_search.search_weights": lambda: dict.fromkeys(("build", "data", "trainer")),
}
"""The other arguments of what cannot be made without them."""

OUR_OWN = {
    *("adaptation.Adapting", "adaptation.carried", "balancers.Geometry", "callbacks.LossHistory", "cli.FewShotCLI"),
    *("comparison.Comparison", "comparison.Cost", "comparison.Interval", "comparison.TaskComparison"),
    *("comparison.TaskScore", "comparison.run_arm", "comparison.t_quantile", "data.MultiTaskLoader"),
    *("data.seed_or_global", "gradients.Cut", "gradients.Measuring", "gradients.Moment", "gradients.Rows"),
    *("gradients.Step", "gradients.TaskResult", "gradients.entries_of", "gradients.step_balance"),
    *("hierarchical.Hierarchy", "inputs.Image", "inputs.refuse_not_finite", "meta.FewShotComparison", "metrics.Drop"),
    *("metrics.all_finite", "metrics.near_zero", "metrics.relative_gains", "modules.SourceBatch"),
    *(
        "placement.Placement",
        "placement.Tried",
        "optim.ParameterGroups",
        "samplers.Flow",
        "samplers.Ready",
        "samplers.Signals",
        "samplers.asked",
    ),
    *("samplers.shares", "task.Scoring", "weight_search.Trial"),
}
"""What the library makes and calls itself, with numbers that it has checked."""

NO_NUMBERS = {
    *("Levels.cut", "samplers.EpisodeSampler.rows", "samplers.Rows.lengths"),
    *("samplers.MultiTaskSampler.steps", "samplers.refuse_steps.asked", "placement.search_placement.levels"),
}
"""Arguments that hold names or columns of data, or that are named as the user's `steps_per_epoch`."""


SEVERAL = {"Shots", "Steps", "Scale", "Weights"}
"""Names of annotations that have numbers beside other things."""


def _numeric(parameter: inspect.Parameter) -> str:
    """Return the annotation of an argument that is a number or holds some, else nothing."""
    text = str(getattr(parameter.annotation, "__forward_arg__", parameter.annotation))
    return (
        text
        if re.search(r"\b(int|float|Range|Shots|Steps|Scale|Weights)\b", text) and not text.startswith("Callable")
        else ""
    )


def _numbers_of(made: Any) -> dict[str, str]:
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):  # no function, or one of C
        return {}
    return {name: text for name, parameter in parameters.items() if (text := _numeric(parameter))}


def _offered() -> dict[str, Any]:
    """Return all classes and functions of all windows that take numbers, by the first window that has them."""
    found: dict[int, tuple[str, Any]] = {}
    packages = [of.name for of in pkgutil.iter_modules(lightning_mtl.__path__) if not of.name.startswith("_")]
    for window in ["", *packages]:
        module = importlib.import_module(f"lightning_mtl.{window}".rstrip("."))
        own = [name for name, made in vars(module).items() if getattr(made, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
            made = getattr(module, name)
            if callable(made) and not inspect.isabstract(made) and _numbers_of(made):
                found.setdefault(id(made), (f"{window}.{name}".lstrip("."), made))
    return dict(found.values())


def _wrong(annotation: str) -> Iterator[Any]:
    yield "0.1"
    if "None" not in annotation and annotation not in SEVERAL:
        yield None
    if annotation not in SEVERAL and not re.search(
        r"list|tuple|Sequence|Iterable|Mapping|dict|Range|Literal", annotation
    ):
        yield [1]


OFFERED = _offered()
ARGUMENTS = [
    pytest.param(made, name, argument, list(_wrong(text)), id=f"{name}.{argument}")
    for name, made in OFFERED.items()
    if name not in OUR_OWN
    for argument, text in _numbers_of(made).items()
    if f"{name}.{argument}" not in NO_NUMBERS
]


def test_the_tables_name_what_there_is() -> None:
    assert sorted(OFFERED) == sorted({*OFFERED, *OTHERS, *OUR_OWN})
    assert len(ARGUMENTS) > 150


@pytest.fixture(autouse=True)
def _of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run checks no types


@pytest.mark.parametrize(("made", "name", "argument", "wrong"), ARGUMENTS)
def test_what_is_no_number_is_refused_by_name(made: Any, name: str, argument: str, wrong: list[Any]) -> None:
    others = OTHERS[name]() if name in OTHERS else {}
    for value in wrong:
        with pytest.raises((TypeError, ValueError), match=rf"`{argument}(\[.*\])?`"):
            made(**{**others, argument: value})


METHODS: list[tuple[str, Callable[..., Any]]] = [
    ("batch_size", lambda of: MultiTaskModule(**_network()).predict([], batch_size=of)),
    ("steps", lambda of: MultiTaskModule(**_network()).adapt(Task("b"), [], steps=cast(Any, [] if of is None else of))),
    ("seed", lambda of: MultiTaskModule(**_network()).adapt(Task("b"), [], seed=of)),
    ("stage", lambda of: Forgetting(2).update(of, torch.zeros(2))),
    ("current", lambda of: WorstCase(2).switch(of)),
]


@pytest.mark.parametrize(("argument", "call"), METHODS, ids=[argument for argument, _ in METHODS])
def test_what_is_no_number_is_refused_by_methods_too(argument: str, call: Callable[..., Any]) -> None:
    for value in ("0.1", None, [1], 0.5):
        with pytest.raises((TypeError, ValueError), match=f"`{argument}` must be a whole number"):
            call(value)


COUNTS: list[tuple[str, Callable[[Any], Any]]] = [
    ("rows", Replay),
    ("every", TransferMonitor),
    ("steps", lambda of: MAML(steps=of)),
    ("classes", Multiclass),
    ("buckets", HashTokenizer),
    ("freeze_steps", lambda of: FineTuning(freeze_steps=of)),
    ("patience", TaskEarlyStopping),
]


@pytest.mark.parametrize(("argument", "make"), COUNTS, ids=[argument for argument, _ in COUNTS])
def test_counts_are_whole(argument: str, make: Callable[[Any], Any]) -> None:
    for value in (True, 2.5, 2.0, math.nan, math.inf, np.float64(3), torch.tensor(3)):
        with pytest.raises((TypeError, ValueError), match=f"`{argument}` must be a whole number"):
            make(value)
    make(np.int64(3))


NAMED: dict[str, Callable[[Any], Any]] = {
    "weights['a']": lambda of: Static({"a": of}),
    "weights[1]": lambda of: Static([1.0, of]),
    "preferences['a']": lambda of: SmoothTchebycheff(preferences={"a": of}),
    "min_losses[0]": lambda of: FAMO(min_losses=[of]),
    "rates['a']": lambda of: Explicit({"a": of}),
    "patience['a']": lambda of: TaskEarlyStopping({"a": of}),
    "level_starts['top']": lambda of: FineTuning(level_starts={"top": of}),
    "level_rates[1]": lambda of: FineTuning(level_rates={1: of}),
    "shares['train']": lambda of: split(ROWS * 9, {"train": of, "test": 0.5}),
    "betas[1]": lambda of: Adam((0.9, of)),
    "steps_per_epoch['a']": lambda of: MultiTaskDataModule({"a": ROWS}, steps_per_epoch={"a": of}),
    "tap_grad['a']": lambda of: HierarchicalModule(**_levels(), tap_grad={"a": of}),
    "shots[0]": lambda of: EpisodeSampler({"a": range(20)}, ways=1, shots=(of, 3)),
    "amplitude[1]": lambda of: Sinusoid(amplitude=(0.1, of)),
    "groups[1]": lambda of: TransferMonitor(groups=[2, of]),
    "learned_at[0]": lambda of: Forgetting(2, learned_at=[of, 1]),
    "widths[0]": lambda of: Levels(nn.Sequential(nn.Linear(2, 3)), widths=[of]),
}


@pytest.mark.parametrize("make", [lambda of: FineTuning(rates=of), Explicit, lambda of: split(ROWS * 9, of)])
def test_numbers_by_name_are_a_dict(make: Callable[[Any], Any]) -> None:
    for value in ([0.5, 0.5], {0.5}, "a", 0.5):
        with pytest.raises(TypeError, match="must be a dict of numbers, got "):
            make(value)


@pytest.mark.parametrize("entry", NAMED)
def test_the_entry_that_is_no_number_is_named(entry: str) -> None:
    for value in ("0.1", [1], math.inf, torch.tensor(0.5)):
        with pytest.raises((TypeError, ValueError), match=re.escape(f"`{entry}` must be ")):
            NAMED[entry](value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "rule"),
    [
        ({}, [-1, 0.5, True, np.float32(2)], [math.nan, math.inf], "finite"),
        ({"finite": False}, [math.nan, math.inf], [], ""),
        ({"above": 0}, [1e-9, 10**400], [0, -1, math.inf, math.nan], "finite and above 0"),
        ({"above": 0, "finite": False}, [math.inf], [0, math.nan], "above 0"),
        ({"at_least": 0}, [0], [-1e-9], "finite and at least 0"),
        ({"at_least": 0, "below": 1}, [0, 0.99], [1, math.nan], "at least 0 and below 1"),
        ({"above": 0, "at_most": 1}, [1], [0, 1.01], "above 0 and at most 1"),
        ({"at_least": 0, "at_most": 1}, [0, 1], [-0.1, 1.1], "from 0 to 1"),
        ({"whole": True}, [-3], [0.5, 2.0], "a whole number"),
        ({"whole": True, "at_least": 1}, [1], [0, 1.5], "a whole number of at least 1"),
        ({"whole": True, "at_least": 0, "at_most": 3}, [0, 3], [-1, 4], "a whole number from 0 to 3"),
        ({"optional": True, "above": 0}, [None, 1], [0], "finite and above 0"),
    ],
    ids=repr,
)
def test_a_number_keeps_its_rule(bounds: dict[str, Any], inside: list[Any], outside: list[Any], rule: str) -> None:
    for value in inside:
        require_number("x", value, "So.", **bounds)
    for value in outside:
        with pytest.raises(
            ValueError, match=re.escape(f"`x` of task 'a' must be {rule}, got {value!r}") + r"( \(float\))?\. So\."
        ):
            require_number("x", value, "So.", of="task 'a'", **bounds)
    for value in ("1", [1], object(), 1j, torch.tensor(1.0)):
        with pytest.raises(TypeError, match=r"`x` must be a (whole )?number, got .*\. Give a number\. So\."):
            require_number("x", value, "So.", **bounds)
