"""The speed of meta-learning, in tasks per second, compared with learn2learn, higher, and a hand-written loop.

    python benchmarks/meta.py [--json FILE] [--rounds N] [--compiled] [--memory] [--only sinusoid,text,conv]

A step is one meta-gradient of MAML: ours is `training_step` and `backward` of a module with a Trainer, theirs is the loop
of their documentation; no side runs an optimizer. All use the same network, batch of tasks and loss. Before anything is
timed, their meta-gradients are compared in double precision. The cells:

- sinusoid: an MLP 1-40-40-1, 25 tasks, 10 + 10 points;
- text: a transformer of 2 layers, width 64, 1,000 words, 16 tasks of 2 classes, 8 + 8 sentences of 16 words;
- conv: four convolutions of 64 channels with batch norm, 16 tasks of 5 classes, 5 + 75 images of 28x28.

The main row is one inner step with second derivatives; first order and 5 inner steps have a row each, with fewer rounds. The
reference is learn2learn if it is installed, otherwise the hand-written loop. The sides take turns, in reverse order in every second
round. A figure is the median over the rounds of the speed relative to the reference in the same round, in seconds of one thread.

`--compiled` also measures compile=True, which takes minutes to compile (conv in chunks of 4). `--memory` also measures how far a step
raises the memory of a process, each in its own process, after a step of one task. The cost of making episodes is given as a share of our step.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import logging
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
import lightning as L
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Multiclass, Regression, Task
from lightning_mtl.adaptation import MAML
from lightning_mtl.families import Sinusoid
from lightning_mtl.heads import Head
from lightning_mtl.task import ROWS

RATE = 0.01
CLOSE = 1e-8
"""How far meta-gradients may lie apart in double precision, relative to the largest."""
BARS = {
    "sinusoid": 6.0,
    "text": 1.3,
    "conv": 0.95,
    "sinusoid_compiled": 40.0,
    "text_compiled": 2.3,
    "conv_compiled": 1.4,
    **{f"{cell}_{row}": 0.93 for cell in ("sinusoid", "text", "conv") for row in ("first_order", "5_steps")},
}
"""How many times as fast as the reference each figure should be."""
Side = Callable[[], None]
"""Leaves the meta-gradient of the batch in the parameters' `.grad`."""

# Networks


class Transformer(nn.Module):
    def __init__(self, words: int = 1000, width: int = 64, length: int = 16) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(0.02 * torch.randn(length, width))
        layers = [nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True) for _ in range(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.layers(self.words(x) + self.places).mean(1)
        return mean


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())


def convolutions() -> nn.Module:
    blocks = [
        (nn.Conv2d(1 if i == 0 else 64, 64, 3, 2, 1), nn.BatchNorm2d(64, track_running_stats=False), nn.ReLU())
        for i in range(4)
    ]
    return nn.Sequential(*(part for block in blocks for part in block), nn.Flatten())


# Tasks


def waves(points: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(25, points, 1) * 10 - 5
    return x, (torch.rand(25, 1, 1) * 5 * torch.sin(x + torch.rand(25, 1, 1) * 3)).squeeze(-1)


def sentences(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randint(1000, (16, rows, 16)), torch.arange(rows).remainder(2).expand(16, rows).contiguous()


def images(rows: int) -> tuple[Tensor, Tensor]:
    return torch.rand(16, rows, 1, 28, 28), torch.arange(rows).remainder(5).expand(16, rows).contiguous()


class Cell(NamedTuple):
    """A network, and a batch of tasks for it."""

    trunk: Callable[[], nn.Module]
    width: int
    outputs: int
    draw: Callable[[int], tuple[Tensor, Tensor]]
    shots: int
    queries: int
    steps: int
    """Steps of a turn."""

    def network(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(self.trunk(), nn.Linear(self.width, self.outputs))

    def batch(self) -> list[Tensor]:
        """Draw inputs and labels of support and query, with a leading axis over tasks."""
        torch.manual_seed(1)
        return [*self.draw(self.shots), *self.draw(self.queries)]

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.outputs == 1:
            return F.mse_loss(prediction.squeeze(-1), target)
        return F.cross_entropy(prediction, target)

    def head(self, layers: nn.Module) -> Head:
        return Regression(layers=layers) if self.outputs == 1 else Multiclass(self.outputs, layers=layers)


CELLS = {
    "sinusoid": Cell(mlp, 40, 1, waves, 10, 10, steps=20),
    "text": Cell(Transformer, 64, 2, sentences, 8, 8, steps=2),
    "conv": Cell(convolutions, 256, 5, images, 5, 75, steps=2),
}


class Row(NamedTuple):
    """A row of the table: the settings of the rule."""

    steps: int = 1
    first_order: bool = False


ROWS_OF_TABLE = {"": Row(), "_first_order": Row(first_order=True), "_5_steps": Row(steps=5)}

# Sides


class Problem(NamedTuple):
    """The network, the batch and the rule of a cell, in a given precision."""

    cell: Cell
    row: Row = Row()
    dtype: torch.dtype = torch.float32
    tasks: int | None = None
    """How many of the tasks. Default: all."""

    def network(self) -> nn.Sequential:
        return self.cell.network().to(self.dtype)

    def batch(self) -> list[Tensor]:
        return [x.to(self.dtype) if x.is_floating_point() else x for x in (y[: self.tasks] for y in self.cell.batch())]


def forget(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


class Ours:
    """Our module, with a Trainer from a training step that changes nothing."""

    def __init__(self, of: Problem, **options: Any) -> None:
        trunk, layers = of.network()
        names = ("support", "query")
        xs, ys, xq, yq = of.batch()
        pairs = zip(names, ((xs, ys), (xq, yq)), strict=True)  # as EpisodeDataModule delivers them
        self.batch: Any = {"s": {name: {"x": x, "t": y, ROWS: {}} for name, (x, y) in pairs}}
        rule = MAML(RATE, of.row.steps, first_order=of.row.first_order)
        tasks = [Task("t", head=of.cell.head(layers))]
        encoder = HardSharing(trunk, width=of.cell.width)
        still, batches = partial(torch.optim.SGD, lr=0.0), cast(Any, [self.batch])
        feed: DataLoader[Any] = DataLoader(batches, batch_size=None)
        self.module = MetaLearningModule(tasks, encoder, adaptation=rule, optimizer=still, **options)
        L.Trainer(accelerator="cpu", max_epochs=1, barebones=True).fit(self.module, feed)
        self.parameters = [*self.module.encoder.parameters(), *self.module.heads.parameters()]

    def __call__(self) -> None:
        forget(self.parameters)
        self.module.backward(self.module.training_step(self.batch, batch_idx=1))


class Theirs:
    """A network that is adapted to one task after another, with a backward pass for each."""

    def __init__(self, of: Problem) -> None:
        self.row, self.loss = of.row, of.cell.loss
        self.network = of.network()
        self.batch = list(zip(*of.batch(), strict=True))
        self.parameters = list(self.network.parameters())

    def __call__(self) -> None:
        forget(self.parameters)
        for task in self.batch:
            self.learn(*task)
        for parameter in self.parameters:
            assert parameter.grad is not None
            parameter.grad /= len(self.batch)

    def learn(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> None:
        raise NotImplementedError


class ByHand(Theirs):
    """The loop that a user would write without any library."""

    def learn(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> None:
        fast: dict[str, Tensor] = dict(self.network.named_parameters())
        for _ in range(self.row.steps):
            loss = self.loss(functional_call(self.network, fast, (xs,)), ys)
            grads = torch.autograd.grad(loss, list(fast.values()), create_graph=not self.row.first_order)
            fast = {name: value - RATE * grad for (name, value), grad in zip(fast.items(), grads, strict=True)}
        self.loss(functional_call(self.network, fast, (xq,)), yq).backward()  # type: ignore[no-untyped-call]


class Learn2learn(Theirs):
    """The loop of learn2learn's examples."""

    def __init__(self, of: Problem) -> None:
        super().__init__(of)
        self.maml = imported("learn2learn").algorithms.MAML(self.network, RATE, first_order=of.row.first_order)

    def learn(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> None:
        learner = self.maml.clone()
        for _ in range(self.row.steps):
            learner.adapt(self.loss(learner(xs), ys))
        self.loss(learner(xq), yq).backward()  # type: ignore[no-untyped-call]


class Higher(Theirs):
    """The loop of higher's examples; in first order, with gradients at the adapted parameters."""

    def __init__(self, of: Problem) -> None:
        super().__init__(of)
        self.higher, self.optimizer = imported("higher"), torch.optim.SGD(self.parameters, lr=RATE)

    def learn(self, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> None:
        second = not self.row.first_order
        with self.higher.innerloop_ctx(
            self.network, self.optimizer, copy_initial_weights=False, track_higher_grads=second
        ) as (network, optimizer):
            for _ in range(self.row.steps):
                optimizer.step(self.loss(network(xs), ys))
            loss = self.loss(network(xq), yq)
            if second:
                loss.backward()  # type: ignore[no-untyped-call]
                return
            for parameter, grad in zip(
                self.parameters, torch.autograd.grad(loss, list(network.parameters())), strict=True
            ):
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad


def imported(name: str) -> Any:
    """Import an optional package; learn2learn with stand-ins, if there are any, for packages that it imports and does not use here."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    stand_ins = "learn2learn_stand_ins"
    found = name == "learn2learn" and importlib.util.find_spec(stand_ins) is not None
    with importlib.import_module(stand_ins).standing_in() if found else nullcontext():
        return importlib.import_module(name)


def rivals() -> dict[str, type[Theirs]]:
    """Return the other sides that can run here, the reference first."""
    known: dict[str, type[Theirs]] = {"learn2learn": Learn2learn, "explicit loop": ByHand, "higher": Higher}
    return {
        name: of for name, of in known.items() if name == "explicit loop" or importlib.util.find_spec(name) is not None
    }


# Timing

Turn = dict[str, float]
"""Seconds of a step of each side."""


def take_turns(sides: Mapping[str, Side], steps: int, rounds: int) -> list[Turn]:
    """Time steps of each side, in turns; the first step of a turn warms the caches and does not count."""
    turns = []
    for number in range(rounds):
        order = list(sides) if number % 2 else list(sides)[::-1]
        turns.append({name: seconds(sides[name], steps) for name in order})
    return turns


def seconds(side: Side, steps: int) -> float:
    side()
    start = time.process_time()
    for _ in range(steps):
        side()
    return (time.process_time() - start) / steps


def median(turns: Sequence[Turn], name: str) -> float:
    return statistics.median(turn[name] for turn in turns)


def show(title: str, turns: Sequence[Turn], tasks: int, reference: str) -> dict[str, float]:
    """Print and return how many times as fast as the reference each side is."""
    print(f"\n{title:28}{'ms':>9}{'tasks/s':>10}   times {reference}'s")
    found = {}
    for name in turns[0]:
        ordered = sorted(turn[reference] / turn[name] for turn in turns)
        found[name], took = statistics.median(ordered), median(turns, name)
        spread = f"({ordered[0]:.2f} to {ordered[-1]:.2f})"
        print(f"  {name:26}{took * 1e3:9.2f}{tasks / took:10,.0f}{found[name]:8.2f} {spread}", flush=True)
    return found


def agree(name: str, row: Row, engines: Sequence[str]) -> float:
    """Return the largest difference between the sides' meta-gradients in double precision, relative to the largest gradient.

    Raises:
        ValueError: They are not equal.
    """
    of = Problem(CELLS[name], row, torch.float64)
    sides: dict[str, Any] = {rival: make(of) for rival, make in rivals().items()}
    sides |= {f"ours, {engine}": Ours(of, engine=engine) for engine in engines}
    for side in sides.values():
        side()
    expected = [parameter.grad for parameter in sides["explicit loop"].parameters]
    largest = max(float(grad.abs().max()) for grad in expected)
    apart = {
        side: max(float((a.grad - b).abs().max()) for a, b in zip(made.parameters, expected, strict=True)) / largest
        for side, made in sides.items()
    }
    if not max(apart.values()) <= CLOSE:
        raise ValueError(f"Meta-gradients of {name}, {row}, must be equal to {CLOSE}, got differences of {apart}.")
    return max(apart.values())


# Parts


def eager(name: str, rounds: int) -> dict[str, float]:
    """Measure all rows of a cell, and the cost of making its episodes."""
    cell, reference = CELLS[name], next(iter(rivals()))
    figures: dict[str, float] = {}
    for suffix, row in ROWS_OF_TABLE.items():
        of = Problem(cell, row)
        engines = ["auto", "loop", "vmap"] if name == "conv" else ["auto", "loop"]
        apart = agree(name, row, engines)
        sides: dict[str, Side] = {rival: make(of) for rival, make in rivals().items()}
        sides |= {f"ours, {engine}": Ours(of, engine=engine) for engine in engines}
        turns = take_turns(sides, cell.steps, max(rounds if not suffix else rounds // 2, 1))
        tasks = len(of.batch()[0])
        title = f"{name}{suffix.replace('_', ' ')}"
        found = show(title, turns, tasks, reference)
        print(f"  meta-gradients in double precision differ by at most {apart:.0e}")
        figures |= {f"{name}{suffix}": found["ours, auto"], f"{name}{suffix}_loop": found["ours, loop"]}
        figures |= {f"{name}{suffix}_vmap": found[of] for of in found if of == "ours, vmap"}
        if not suffix:
            figures[f"{name}_tasks_per_second"] = tasks / median(turns, "ours, auto")
            figures |= episodes(name, median(turns, "ours, auto"))
    return figures


def compiled(name: str, rounds: int) -> dict[str, float]:
    """Measure the main row of a cell, compiled; images with 4 tasks at a time, because all at once do not fit into the caches."""
    of, reference = Problem(CELLS[name]), next(iter(rivals()))
    start = time.perf_counter()
    made = Ours(of, engine="vmap", compile=True, chunk=4 if name == "conv" else None)
    print(f"\n{name}: compiled in {time.perf_counter() - start:.0f} s")
    sides: dict[str, Side] = {reference: rivals()[reference](of), "ours, compiled": made}
    turns = take_turns(sides, CELLS[name].steps, rounds)
    found = show(f"{name} compiled", turns, len(of.batch()[0]), reference)
    return {f"{name}_compiled": found["ours, compiled"]}


def episodes(name: str, step: float) -> dict[str, float]:
    """Measure the cost of making a batch of episodes, as a share of a step of this many seconds; not for texts."""
    if name == "text":
        return {}
    cell, steps = CELLS[name], 20
    source: Any = Sinusoid() if name == "sinusoid" else letters()
    options: dict[str, Any] = (
        {"ways": 5, "shots": 10, "queries": 10} if name == "sinusoid" else {"ways": 5, "shots": 1, "queries": 15}
    )
    count = len(cell.batch()[0])
    data = EpisodeDataModule({"s": source}, episodes=count, steps_per_epoch=steps, summary=False, **options)
    trunk, layers = cell.network()
    task = Task("t", "s", target="y", head=cell.head(layers))
    module = MetaLearningModule([task], HardSharing(trunk, width=cell.width), engine="loop")
    L.Trainer(accelerator="cpu", max_epochs=1, limit_train_batches=1, barebones=True).fit(module, data)
    took = []
    for batch in [None, None]:
        start = time.process_time()
        for batch in islice(data.train_dataloader(), steps):
            assert len(batch["s"]["support"]["y"]) == count
        took.append((time.process_time() - start) / steps)
    share = took[-1] / step
    print(
        f"  making its episodes: {took[-1] * 1e3:.3f} ms, {share:.1%} of a step ({'at most 10%' if share <= 0.1 else 'above 10%'})"
    )
    return {f"{name}_episodes_share": share}


def letters() -> datasets.Dataset:
    """Return rows of images of 28x28, 20 of each of 40 classes."""
    made = {"x": torch.rand(800, 1, 28, 28).numpy(), "y": [f"letter {i % 40}" for i in range(800)]}
    features = {"x": datasets.Array3D((1, 28, 28), "float32"), "y": datasets.Value("string")}
    return datasets.Dataset.from_dict(made, features=datasets.Features(features))


# Memory

WAYS: dict[str, dict[str, Any]] = {
    "one task": {"tasks": 1, "engine": "loop"},
    "loop": {"engine": "loop"},
    "vmap": {"engine": "vmap"},
    "chunks of 4": {"engine": "vmap", "chunk": 4},
}


def memory(name: str) -> dict[str, float]:
    """Measure by how many MB a step raises the memory of a process."""
    spawn = multiprocessing.get_context("spawn")
    figures = {}
    for way in WAYS:
        with spawn.Pool(1) as process:
            figures[way] = process.apply(growth, (name, way))
    alone, share = figures["loop"] / figures["one task"], figures["chunks of 4"] / figures["vmap"]
    most = (4 + 3) / len(CELLS[name].batch()[0])
    bars = (
        f"(at most {most:.2f}{'' if share <= most else ', missed'})" if name != "sinusoid" else "(too little to tell)"
    )
    said = "  ".join(f"{way} {mb:.1f}" for way, mb in figures.items())
    print(f"{name:10} MB: {said}; loop / one task {alone:.2f}, chunks / vmap {share:.2f} {bars}", flush=True)
    return {f"{name}_mb_{way.replace(' ', '_')}": mb for way, mb in figures.items()}


def growth(name: str, way: str) -> float:
    """Return the MB by which the first step of all tasks raises the memory of this process, after a step of one task."""
    still()
    options = dict(WAYS[way])
    of = Problem(CELLS[name], tasks=options.pop("tasks", None))
    Ours(of._replace(tasks=1), **options)()
    side = Ours(of, engine="loop")
    side.module.engine, side.module.chunk = options["engine"], options.get("chunk")
    side.module._adapting.clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    side()
    return max(status("VmHWM") - before, 1) / 1024


def status(key: str) -> int:
    """Return an entry of the status of this process, in KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def still() -> None:
    """Use one thread, and no messages."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # whoever imports Lightning by its other name has it speak again
    torch.set_num_threads(1)


def keep_pages() -> None:
    """Use an allocator that keeps its pages, because returning them costs up to a fifth, which varies from run to run."""
    libc: Any = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
        for option, value in ((-1, 1 << 30), (-3, 1 << 30), (-8, 1)):
            libc.mallopt(option, value)


def print_bars(figures: Mapping[str, Any]) -> None:
    print(f"\n{'times the reference':28}{'figure':>8}   bar")
    for name, least in BARS.items():
        if name in figures:
            missed = "" if figures[name] >= least else ", missed"
            print(f"{name:28}{figures[name]:8.2f}   at least {least:g}{missed}")


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side")
    parser.add_argument("--compiled", action="store_true", help="measure compile=True too, in minutes")
    parser.add_argument("--memory", action="store_true", help="measure the memory of each engine too")
    parser.add_argument("--only", default=",".join(CELLS), help=f"cells, of {','.join(CELLS)}")
    args = parser.parse_args()
    still()
    keep_pages()
    figures: dict[str, Any] = {"reference": next(iter(rivals()))}
    names = args.only.split(",")
    with sdpa_kernel(SDPBackend.MATH):
        for name in names:
            figures |= eager(name, args.rounds)
        for name in names if args.compiled else ():
            figures |= compiled(name, args.rounds)
    for name in names if args.memory else ():
        figures |= memory(name)
    print_bars(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
