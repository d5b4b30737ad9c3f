"""Runs that two processes must do as one does: each is three steps in float64, with plain gradient descent.

Started by `torchrun` it writes the weights and figures of every case into the folder given; called in one process it
returns them.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_mtl import (
    Binary,
    HardSharing,
    HierarchicalModule,
    Levels,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Regression,
    Source,
    Tabular,
    Task,
)
from lightning_mtl.adaptation import MAML, Adaptation, MetaSGD, ProtoNet
from lightning_mtl.balancers import FAMO, LogSum, Uncertainty
from lightning_mtl.callbacks import (
    ConflictMonitor,
    Distillation,
    ElasticWeightConsolidation,
    ForgettingMonitor,
    Replay,
    SuccessiveRegularization,
    TaskEarlyStopping,
    TransferMonitor,
)
from lightning_mtl.report import Report
from lightning_mtl.samplers import (
    EvaluationSampler,
    Explicit,
    MultiTaskSampler,
    Phase,
    Phases,
    Plan,
    Proportional,
    Rows,
    Temperature,
    Uniform,
)
from tests.builders import leaning, module, splits
from tests.meta import episodes
from tests.models import table_rows, word_rows
from tests.ranks import loops, metrics

ROWS, BATCH = 48, 8
"""Rows of the main source, and of its part in a step on one of two ranks."""


def one_source() -> dict[str, Any]:
    return {"s": splits(ROWS)}


def two_sources() -> dict[str, Any]:
    made = {"sign": splits(ROWS), "size": splits(22, seed=5)}
    return {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in source.items()}
        for name, source in made.items()
    }


def steps_of(rank: int, split: str, rows: int) -> Iterator[Plan]:
    """Say which rows of source "s" a rank reads in each step of the first epoch."""
    stream = {"s": Rows(rows, 2 * BATCH, name="s", shuffle=split == "train", ranks=2)}
    if split == "train":
        return iter(MultiTaskSampler(stream, batches="all", num_replicas=2, rank=rank))
    return iter(EvaluationSampler(stream, num_replicas=2, rank=rank))


def unlabelled(when: Callable[[int, int], bool], tasks: tuple[str, ...] = ("size",)) -> dict[str, Any]:
    """Take the labels from the rows that two ranks read at the (rank, step) that `when` names."""
    made = splits(ROWS)
    for rank in range(2):
        for step, rows_of in enumerate(steps_of(rank, "train", ROWS)):
            for row in rows_of["s"] if when(rank, step) else []:
                for task in tasks:
                    made["train"][row][task] = None
    return {"s": made}


def held_out_labels_on_one_rank() -> dict[str, Any]:
    made = splits(ROWS)
    for split in ("train", "validation"):
        for one in made[split]:
            one["size"] = [one["size"], 2 * one["size"]]
        for rows_of in steps_of(1, split, len(made[split])):
            for row in rows_of["s"]:
                made[split][row]["size"] = [math.nan, math.nan]
    return {"s": made}


def sparse() -> dict[str, Any]:
    made = splits(ROWS)
    for split in made.values():
        for i, row in enumerate(split):
            row["size"] = row["size"] if i % 5 == 0 else None
            row["sign"] = row["sign"] if i % 3 else None
    return {"s": made}


def words() -> dict[str, Any]:
    """Rows of lists of words, so that ranks have different numbers of words; some have no tags."""
    made = {"train": word_rows(ROWS), "validation": word_rows(20, seed=1)}
    for i, row in enumerate(made["train"]):
        row["tags"] = None if i % 4 == 1 else row["tags"]
    return {"s": Source(made, words="words")}


def table() -> dict[str, Any]:
    made = {"train": table_rows(ROWS), "validation": table_rows(20, seed=1)}
    for i, row in enumerate(made["train"]):
        row["buys"] = None if i % 3 == 1 else row["buys"]
        row["sum"] = None if i % 5 == 1 else row["sum"]
    return {"s": Source(made, features=["age", "pay", "city"])}


MODELS: dict[str, Callable[[], MultiTaskModule]] = {
    "words": lambda: found([Task("tags"), Task("long")], HardSharing(Recurrent(8, embedding=4, buckets=60))),
    "a scaled table, classes weighed": lambda: found(
        [Task("sum"), Task("buys", head=Binary(class_weight="balanced", focal=1.5), weight=0.4)],
        HardSharing(Tabular(8)),
    ),
    "levels in turn, lower ones held": lambda: levelled(),
}
"""Models whose heads (all, or some) are found from the data; any other case has the model of the builders."""


def found(tasks: list[Task], encoder: HardSharing) -> MultiTaskModule:
    return MultiTaskModule(tasks, encoder, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05))


def levels(tasks: list[Task], **options: Any) -> HierarchicalModule:
    """Make a hierarchy of three levels."""
    torch.manual_seed(0)
    first, last = tasks
    first.level, last.feeds_from = 1, [first.name]
    last.level = 2 if options.pop("low", False) else 3
    layers = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in ((4, 7), (7, 6), (6, 5))]
    return HierarchicalModule(
        tasks, Levels(layers), detach_feeds=True, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05), **options
    )


def levelled() -> MultiTaskModule:
    torch.manual_seed(0)
    trunk = [nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.Tanh())]
    which = [
        Task("sign", head=Multiclass(2), level=1),
        Task("size", head=Regression(), loss=_distance, feeds_from=["sign"]),
    ]
    return HierarchicalModule(
        which, Levels(trunk, inputs="x"), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05)
    )


CASES: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "one source": (one_source, {}),
    "two sources": (two_sources, {}),
    "labels here and there": (sparse, {}),
    "a task missing on one rank": (lambda: unlabelled(lambda rank, step: rank == 1), {}),
    "a task missing on the other rank in one step": (lambda: unlabelled(lambda rank, step: (rank, step) == (0, 1)), {}),
    "a task missing on all ranks in one step": (lambda: unlabelled(lambda rank, step: step == 1), {}),
    "no label at all on one rank": (
        lambda: unlabelled(lambda rank, step: (rank, step) == (1, 0), ("size", "sign")),
        {},
    ),
    "no label at all in one step": (lambda: unlabelled(lambda rank, step: step == 1, ("size", "sign")), {}),
    "two outputs, labels on one rank": (held_out_labels_on_one_rank, {}),
    "words": (words, {}),
    "a scaled table, classes weighed": (table, {}),
    "accumulated and clipped": (sparse, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.05}),
    "a source in each step": (two_sources, {}),
    "rows of both sources in fixed numbers": (two_sources, {}),
    "rows of sources that are drawn": (two_sources, {}),
    "a source that is never drawn": (two_sources, {}),
    "levels in turn, lower ones held": (two_sources, {}),
    "a task is dropped": (one_source, {"val_check_interval": 1}),
    "a source is left out": (two_sources, {"val_check_interval": 10}),
    "sharded, a task is frozen": (one_source, {"val_check_interval": 1}),
    "in a row, rows replayed and what mattered held": (two_sources, {}),
    "in a row, predictions held": (two_sources, {}),
    "looks aside, labels here and there": (sparse, {}),
    "looks aside, no label at all on one rank": (
        lambda: unlabelled(lambda rank, step: (rank, step) == (1, 1), ("size", "sign")),
        {},
    ),
    "looks aside, a source in each step": (two_sources, {}),
    "sharded, a batch of each source": (two_sources, {}),
    "sharded, in a row, rows replayed": (two_sources, {}),
    "sharded, a source in each step": (two_sources, {}),
    "sharded, rows of sources that are drawn": (two_sources, {}),
}
BALANCING: dict[str, dict[str, Any]] = {
    "log sum, labels here and there": {"balancer": LogSum()},
    "uncertainty, a task missing on one rank": {"balancer": Uncertainty()},
    "gate, labels here and there": {"balancer": leaning},
    "gate that is watched, labels here and there": {"balancer": leaning},
    "sharded gate that is watched, labels here and there": {"balancer": leaning},
    "gate, no label at all on one rank": {"balancer": leaning},
    "rows of two sources": {"balancer": leaning},
    "rows, heads weighed, accumulated": {"balancer": leaning, "scope": "parameters", "weight_heads": True},
    "sketch, labels here and there": {"balancer": leaning, "sketch": 16},
    "sharded, log sum": {"balancer": LogSum()},
    "sharded, uncertainty": {"balancer": Uncertainty()},
    "sharded gate, labels here and there": {"balancer": leaning},
    "sharded gate, heads weighed, a task missing on one rank": {"balancer": leaning, "weight_heads": True},
    "sharded gate, a task missing on all ranks in one step": {"balancer": leaning},
}
"""How the steps of a case are balanced; in any other case losses are added up."""
LEVELS: dict[str, dict[str, Any]] = {
    "levels, labels here and there": {},
    "levels, no label at all on one rank": {},
    "levels that no task reads": {"low": True},
    "levels, a task missing on one rank": {},
    "gates of levels, labels here and there": {"balancer": leaning, "scope": "representation"},
    "gates of levels, a task missing on one rank": {"balancer": leaning, "scope": "representation"},
    "gates of levels, no label at all on one rank": {"balancer": leaning, "scope": "representation"},
    "rows of levels, labels here and there": {"balancer": leaning},
    "sharded levels, labels here and there": {},
    "sharded levels, a task missing on one rank": {},
    "sharded gates of levels, labels here and there": {"balancer": leaning, "scope": "representation"},
}
"""Cases of a hierarchy, in which a task at the first level feeds one at the third."""
BALANCING |= LEVELS
SELDOM: dict[str, dict[str, Any]] = {
    "famo, accumulated": {"balancer": FAMO()},
    "gate, no label at all in one step": {"balancer": leaning},
    "gate of two sources": {"balancer": leaning, "scope": "representation"},
    "gate, heads weighed, accumulated": {"balancer": leaning, "weight_heads": True},
    "gate, asked every second step": {"balancer": leaning, "refresh_every": 2},
    "rows, a task missing on all ranks in one step": {"balancer": leaning, "scope": "parameters"},
    "rows, asked every second step": {"balancer": leaning, "scope": "parameters", "refresh_every": 2},
    "pieces, a task missing on one rank": {"balancer": leaning, "gradient_memory": 0.5},
}
"""More such cases, for the slow test."""
MISSING: dict[str, Callable[[], dict[str, Any]]] = {
    "labels here and there": sparse,
    "accumulated": sparse,
    "two sources": two_sources,
    "a task missing on one rank": lambda: unlabelled(lambda rank, step: rank == 1),
    "a task missing on all ranks in one step": lambda: unlabelled(lambda rank, step: step == 1),
    "no label at all on one rank": lambda: unlabelled(lambda rank, step: (rank, step) == (1, 0), ("size", "sign")),
    "no label at all in one step": lambda: unlabelled(lambda rank, step: step == 1, ("size", "sign")),
}
"""What the data of a balanced case lack, by the end of its name."""


def add_balanced(case: str, options: dict[str, Any]) -> None:
    """Make a case of it, whose name says what its data lack."""
    data = next((make for end, make in MISSING.items() if case.endswith(end)), one_source)
    BALANCING[case] = options
    CASES[case] = (data, {"accumulate_grad_batches": 3} if case.endswith("accumulated") else {})


for _case in list(BALANCING):
    add_balanced(_case, BALANCING[_case])

META: dict[str, tuple[Adaptation, dict[str, Any], dict[str, Any]]] = {
    "episodes, second derivatives": (MAML(0.1, steps=2), {}, {}),
    "episodes, rates learned, accumulated": (MetaSGD(), {}, {"accumulate_grad_batches": 3}),
    "episodes, prototypes": (ProtoNet(), {}, {}),
    "episodes of different sizes": (MAML(0.1, first_order=True), {"shots": (1, 3)}, {}),
}
"""Rules of cases of episodes, how these are drawn, and options of the Trainer."""
for _case, (_rule, _drawn, _flags) in META.items():
    CASES[_case] = (one_source, _flags)

SAMPLING: dict[str, dict[str, Any]] = {
    "a source in each step": {"sampling": Temperature(), "steps_per_epoch": 6},
    "rows of both sources in fixed numbers": {"sampling": Proportional(), "batches": "stratified"},
    # Seldom a row of the small source: on one rank, on the other, on none.
    "rows of sources that are drawn": {
        "sampling": Explicit({"sign": 15.0, "size": 1.0}),
        "batches": "mixed",
        "steps_per_epoch": 8,
    },
    "a source that is never drawn": {
        "sampling": Explicit({"sign": 1.0, "size": 0.0}),
        "batches": "homogeneous",
        "steps_per_epoch": 3,
    },
    "a source is left out": {"steps_per_epoch": 30},
    "levels in turn, lower ones held": {
        "sampling": Phases([Phase(["sign"], steps=2), Phase(["size"], steps=3)]),
        "steps_per_epoch": 10,
    },
}
"""How the sources of these cases are drawn; in any other case a step holds a batch of each."""
SAMPLING["looks aside, a source in each step"] = {"sampling": Uniform(), "steps_per_epoch": 10}
IN_A_ROW: dict[str, Any] = {
    "sampling": Phases([Phase(["size"], steps=3), Phase(["sign"])], repeat=False),
    "steps_per_epoch": 8,
}
SAMPLING |= {case: IN_A_ROW for case in CASES if "in a row" in case}
SAMPLING |= {f"sharded, {case}": SAMPLING[case] for case in ("a source in each step", "rows of sources that are drawn")}


def stopped(action: Any) -> list[L.Callback]:
    """Stop a task after the second validation."""
    return [TaskEarlyStopping({"size": 1}, min_delta=1e9, action=action)]


CALLBACKS: dict[str, Callable[[], list[L.Callback]]] = {
    "levels in turn, lower ones held": lambda: [SuccessiveRegularization(delta=0.5, head_delta=0.5)],
    "in a row, rows replayed and what mattered held": lambda: [
        Replay(rows=9),
        ElasticWeightConsolidation(3.0, rows=15),
    ],
    "in a row, predictions held": lambda: [Distillation(2.0), ForgettingMonitor(every=2), Report(mkdtemp())],
    "sharded, in a row, rows replayed": lambda: [Replay(rows=9), ForgettingMonitor(every=2)],
    "a task is dropped": lambda: stopped("drop"),
    "a source is left out": lambda: stopped("drop"),
    "sharded, a task is frozen": lambda: stopped("freeze"),
    **{
        f"looks aside, {case}": lambda: [ConflictMonitor(every=2), TransferMonitor(every=2)]
        for case in ("labels here and there", "no label at all on one rank", "a source in each step")
    },
    **{
        f"{gate} that is watched, labels here and there": lambda: [ConflictMonitor()]
        for gate in ("gate", "sharded gate")
    },
}
"""What takes part in the training of these cases."""


def run(case: str, folder: Path) -> dict[str, Tensor]:
    """Train a case on the ranks that there are, and return weights, figures and what was read."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    make, options = CASES[case]
    which = [
        Task("sign", head=Multiclass(2), weight=0.7),
        Task("size", head=Regression(2 if "outputs" in case else 1), loss=_distance),
    ]
    torch.manual_seed(2)  # layers that are made in `fit`
    made = levels if case in LEVELS else module
    trained = MODELS[case]() if case in MODELS else made(which, **BALANCING.get(case, {}))
    if case in META:
        trained = episodes.for_rows(META[case][0])
    sharded = case.startswith("sharded")
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1) if sharded else "ddp"
    watch = _Watch()
    ours = CALLBACKS.get(case, list)()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy if ranks > 1 else "auto",
        precision="32-true" if sharded else "64-true",
        max_epochs=2 if options else 1,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[watch, *ours],
        **options,
    )
    drawn = SAMPLING.get(case, {})
    data: Any = MultiTaskDataModule(make(), batch_size=BATCH * 2 // ranks, seed=0, summary=False, **drawn)
    if case in META:
        data = episodes.of_rows(episodes=8 // ranks, **META[case][1])
    trainer.fit(trained, data)
    figures = {name: value.double() for name, value in trainer.callback_metrics.items()}
    if case.endswith("a task missing on all ranks in one step"):
        assert watch.idle == [False, True, False], watch.idle
    weights = {
        f"weight {name}": value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in trained.state_dict().items()
    }
    stops = [of.record()["stopped"] for of in ours if isinstance(of, TaskEarlyStopping)]
    ends = {f"{task} stopped": torch.tensor(step) for of in stops for task, step in of.items()}
    for monitor in (of for of in ours if isinstance(of, ForgettingMonitor)):
        figures["stages"] = torch.tensor([monitor.stages.initial, *monitor.stages.matrix], dtype=torch.float64)
    return {**weights, **figures, **watch.losses, **ends}


def other_data(rank: int) -> str:
    """Give each rank other data, and the same in another order; tell what stops the runs."""
    parts, more = splits(ROWS), splits(ROWS + 8 * rank)
    turned = {**parts, "validation": parts["validation"][:: -1 if rank else 1]}
    return "\n".join(map(stop_of, [more, turned]))


def stop_of(parts: dict[str, Any]) -> str:
    """Tell what stops a run before its first step."""
    data = MultiTaskDataModule({"s": parts}, batch_size=BATCH, seed=0, summary=False)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
    }
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, enable_model_summary=False, **quiet)
    try:
        trainer.fit(module(), data)
    except ValueError as error:
        return str(error)
    return ""


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().mean()  # in the type of the target, whatever that is


class _Watch(L.Callback):
    """Notes the losses of each step, and whether the head of `size` had a gradient."""

    def __init__(self) -> None:
        self.losses: dict[str, Tensor] = {}
        self.idle: list[bool] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        self.idle.append(all(p.grad is None for p in pl_module.heads[pl_module.tasks[-1].name].parameters()))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.losses[f"epoch {trainer.current_epoch}"] = trainer.callback_metrics["train/loss"].double().clone()


def refused_scope(folder: Path) -> str:
    """Ask for gradients of parameters that are cut over the ranks, and tell what stops the run."""
    data = MultiTaskDataModule({"s": splits(ROWS)}, batch_size=BATCH, seed=0, summary=False)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=strategy, max_epochs=1, **quiet)
    try:
        trainer.fit(module(balancer=leaning, scope="parameters"), data)
    except ValueError as error:
        return str(error)
    return ""


def main(cases: list[str], *, more: bool = False) -> None:
    """Run these cases on all ranks (and more: metrics, what is refused), and write what they give into the folder named first on the command line."""
    folder = Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    torch.save({case: run(case, folder) for case in cases}, folder / f"rank{rank}.pt")
    if more:
        torch.save(loops.loops(rank), folder / f"loops{rank}.pt")
        torch.save(metrics.figures(rank), folder / f"metrics{rank}.pt")
        (folder / f"refusal{rank}.txt").write_text(other_data(rank))
        (folder / f"scope{rank}.txt").write_text(refused_scope(folder))


if __name__ == "__main__":
    main(list(CASES), more=True)
