"""Runs that can be killed at a step and resumed from their last checkpoint, each of a few tiny steps in float64.

Started with a folder, a case and a step it trains, is killed within that step, is started once more, and goes on; it writes, for
each rank, what every step read, and the weights at the end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lightning_mtl import HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Task
from lightning_mtl.callbacks import SamplingSchedule
from lightning_mtl.samplers import Rule
from tests.builders import rows
from tests.resume.rules import RULES

EPOCHS, STEPS, EVERY = 3, 24, 7
"""Epochs, their steps, and the steps between two checkpoints, none of which is followed by a validation."""
WITHIN = 5 * EVERY
"""A step within the second epoch after which there is a checkpoint."""
ROWS = {"a": 61, "b": 34, "c": 23}
"""Rows of each source."""
BATCH = 12
"""Rows of a global batch."""


@dataclass(frozen=True)
class Case:
    """One way to train.

    Args:
        ranks: Number of processes.
        workers: Number of workers of each.
        kind: What steps hold; "phased" is "homogeneous", of some of the sources at a time.
        rule: Whether rates never change, follow the step, or follow how training goes.
        data: Whether all sources are "rows", or two of three a "stream": one with a state of its own, one without; or rows with
            one "fewer", or in the "turned" order of sources.
        scheduled: Whether the rate of learning follows the length of the run, so that Lightning makes the loaders early.
    """

    ranks: int = 1
    workers: int = 0
    kind: str = "homogeneous"
    rule: str = "static"
    data: str = "rows"
    scheduled: bool = False

    def __str__(self) -> str:
        return "-".join(map(str, asdict(self).values()))


def sources(data: str = "rows") -> dict[str, dict[str, Any]]:
    """Make three sources whose rows have a number, each with a class that other features decide."""
    decides: dict[str, Callable[[Sequence[float]], float]] = {
        "a": lambda x: x[0],
        "b": lambda x: x[1] - x[2],
        "c": lambda x: x[3] + x[0],
    }
    made: dict[str, dict[str, Any]] = {}
    for seed, (name, count) in enumerate(ROWS.items()):
        held = {"train": rows(count, seed), "validation": rows(20, seed + 50)}
        made[name] = {
            split: [{"id": i, "x": row["x"], name: int(decides[name](row["x"]) > 0)} for i, row in enumerate(of)]
            for split, of in held.items()
        }
    if data == "fewer":
        made["a"]["train"] = made["a"]["train"][1:]
    if data == "turned":
        return dict(reversed(made.items()))
    if data == "stream":
        made["a"]["train"] = datasets.Dataset.from_list(made["a"]["train"]).to_iterable_dataset(num_shards=4)
        made["b"]["train"] = Lines(made["b"]["train"])
    return made


class Lines(IterableDataset[dict[str, Any]]):
    """Gives rows one after another, and keeps no state."""

    def __init__(self, of: Sequence[dict[str, Any]]) -> None:
        self.of = of

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.of)


class Scheduled(MultiTaskModule):
    """Asks for the steps of the run before training, so that Lightning makes the loaders early."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def module(scheduled: bool = False) -> MultiTaskModule:
    """Make a network with dropout, so that its weights depend on the random state too."""
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2))
    kind = Scheduled if scheduled else MultiTaskModule
    which = [Task(name, name, head=Multiclass(2)) for name in ROWS]
    return kind(
        which,
        HardSharing(trunk, width=8, inputs=["x"]),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.02, weight_decay=0.1),
    )


@dataclass
class Watch(L.Callback):
    """Notes what each step read, at which rates, and which were announced; kills its process, or all of its group, within a step.

    Args:
        file: Where to write it, line by line, for it must outlive the process.
        kill: Number of steps after which to kill the process, within the next one.
    """

    file: Path | None = None
    kill: int | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if trainer.global_step == self.kill:
            assert os.getpgrp() == os.getpid(), "others would be killed as well"
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loader: Any = trainer.train_dataloader
        sampler = loader.sampler
        self.steps.append(
            {
                "step": trainer.global_step,
                "read": {name: part["id"].tolist() for name, part in batch.items()},
                "rates": sampler.rates.at(sampler.running),
                "announced": sampler.state_dict()["rates"]["announced"],
            }
        )
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(json.dumps(self.steps[-1]) + "\n")


@dataclass
class Ran:
    """What a run read in each step, and its weights at the end."""

    steps: list[dict[str, Any]]
    weights: dict[str, Tensor]

    @property
    def read(self) -> list[dict[str, list[int]]]:
        """Rows of each source that each step read."""
        return [step["read"] for step in self.steps]

    def equals(self, whole: Ran, since: int) -> bool:
        """Say whether this is the end of a whole run, from a step on: what was read, at which rates, and every bit of the weights."""
        alike = self.weights.keys() == whole.weights.keys()
        alike = alike and all(torch.equal(self.weights[name], value) for name, value in whole.weights.items())
        return alike and len(self.steps) > 0 and self.steps == whole.steps[since:]


def train(
    case: Case,
    folder: Path,
    *,
    seed: int,
    resume: Path | None = None,
    watch: Watch | None = None,
    rule: Rule | None = None,
    keep: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **options: Any,
) -> Ran:
    """Train a case, from a checkpoint if one is given.

    Args:
        case: The way to train.
        folder: Where checkpoints go.
        seed: That of the order, the weights and the dropout; a run that is resumed takes that of the checkpoint.
        resume: The checkpoint.
        watch: Notes the steps.
        rule: A rule in place of the case's.
        keep: Arguments of `ModelCheckpoint`.
        data: Other arguments of the data module.
        options: Other arguments of the Trainer.
    """
    L.seed_everything(seed, verbose=False)
    watch = watch or Watch()
    habits = {"every_n_train_steps": EVERY, "save_top_k": -1, "filename": "{step}"}
    trainer = L.Trainer(
        accelerator="cpu",
        devices=case.ranks,
        strategy="ddp" if case.ranks > 1 else "auto",
        precision="64-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[watch, ModelCheckpoint(folder, **(keep or habits)), SamplingSchedule(every=5)],
        **{"max_epochs": EPOCHS, "val_check_interval": STEPS // 2, **options},
    )
    made = module(case.scheduled)
    feed: dict[str, Any] = {
        "sources": sources(case.data),
        "batch_size": BATCH // case.ranks,
        "num_workers": case.workers,
        "sampling": rule or RULES[case.kind, case.rule](),
        "batches": "homogeneous" if case.kind == "phased" else case.kind,
        "steps_per_epoch": STEPS,
        "summary": False,
    }
    trainer.fit(made, MultiTaskDataModule(**{**feed, **(data or {})}), ckpt_path=resume)
    return Ran(watch.steps, {name: value.clone() for name, value in made.state_dict().items()})


def checkpoint(folder: Path, step: int | None = None) -> Path:
    """Find the checkpoint of a step, or the last one."""
    steps = [int(file.stem.removeprefix("step=")) for file in folder.glob("step=*.ckpt")]
    return folder / f"step={max(steps) if step is None else step}.ckpt"


def main(folder: Path, case: Case, *, step: int, seed: int) -> None:
    """Train unbroken, with another seed for an epoch, and until killed; in the process after that one, go on.

    Args:
        folder: Where files go; where there is a folder "others" in it, a run of another number of ranks goes on too.
        case: The way to train.
        step: The step within which the first process dies.
        seed: That of the run.
    """
    rank = int(os.environ.get("RANK", 0))

    def keep(name: str, ran: Ran) -> None:
        torch.save({"steps": ran.steps, "weights": ran.weights}, folder / f"{name}{rank}.pt")

    if not (folder / "killed").exists():
        keep("whole", train(case, folder / "whole", seed=seed))
        keep("other", train(case, folder / "other", seed=seed + 1, max_epochs=1))
        train(case, folder / "killed", seed=seed, watch=Watch(folder / f"killed{rank}.jsonl", step))
        raise AssertionError("the run ended alive")
    # Of another seed, as a process that begins anew may be: all that counts is in the checkpoint.
    keep("resumed", train(case, folder / "resumed", seed=seed + 2, resume=checkpoint(folder / "killed")))
    if (folder / "others").exists():
        keep(
            "from others", train(case, folder / "resumed", seed=seed + 2, resume=checkpoint(folder / "others", WITHIN))
        )


def is_successor() -> bool:
    """Tell whether a process like this one was killed before: `torchrun` starts another; else this one waits for it."""
    if "RANK" in os.environ:
        return os.environ["TORCHELASTIC_RESTART_COUNT"] == "1"
    child = os.fork()  # this process has imported everything, and trained nothing
    if child == 0:
        os.setsid()
        return False
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    return True


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("error", message="Sampling continues by")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    given = json.loads(sys.argv[2])
    assert is_successor() == (Path(sys.argv[1]) / "killed").exists()
    main(Path(sys.argv[1]), Case(**given["case"]), step=given["step"], seed=given["seed"])
