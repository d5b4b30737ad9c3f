"""Twins that are kept: the same one is read, any other is trained."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import lightning as L
import pyarrow as pa
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader

from lightning_mtl import FineTuning, HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.comparison import Comparison, compare
from lightning_mtl.comparison._twin_key import twin_key
from lightning_mtl.digests import NoDigestError, digest, version_of
from lightning_mtl.samplers import FunctionOfStep, Temperature
from tests import ROOT
from tests.builders import Row, rows, splits
from tests.conftest import TrainerMaker

RATE = 0.05


def by_rate(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=RATE)


class Trunk(nn.Module):
    """A user's own, whose setting no description holds."""

    def __init__(self, width: int = 8, slope: float = 0.0) -> None:
        super().__init__()
        self.linear, self.slope = nn.Linear(4, width), slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.linear(x), self.slope)


def zeroed() -> Trunk:
    made = Trunk()
    nn.init.zeros_(made.linear.bias)
    return made


class Steeper(Trunk):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Own(MultiTaskModule):
    """A user's own module."""


@dataclass
class Setting:
    """All that a comparison is made of."""

    sources: Callable[[], dict[str, Any]] = lambda: {"s": splits()}
    optimizer: Any = by_rate
    trunk: Callable[[], nn.Module] = Trunk
    kind: type[MultiTaskModule] = MultiTaskModule
    head: Callable[[], Any] = lambda: Multiclass(2)
    weight: float = 1.0
    loss: Any = None
    seeds: tuple[int, ...] = (3,)
    data: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: Callable[[str], list[L.Callback]] = lambda run: []

    def build(self, names: list[str] | None) -> MultiTaskModule:
        made = [
            Task("sign", head=self.head(), weight=self.weight),
            Task("size", head=Regression(), loss=self.loss),
        ]
        chosen = [task for task in made if names is None or task.name in names]
        return self.kind(chosen, HardSharing(self.trunk(), width=8, inputs=["x"]), optimizer=self.optimizer)

    def feed(self) -> MultiTaskDataModule:
        return MultiTaskDataModule(self.sources(), **{"batch_size": 20, "summary": False, **self.data})

    def compare(self, make: TrainerMaker, cache: Path | None, **options: Any) -> tuple[Comparison, list[str]]:
        """Compare, and name the runs that were trained."""
        trained: list[str] = []

        class Watch(L.Callback):
            def __init__(self, run: str) -> None:
                self.run = run

            def on_train_start(self, *args: Any) -> None:
                trained.append(self.run)

        def trainer(run: str) -> L.Trainer:
            return make(**{"callbacks": [Watch(run), *self.callbacks(run)], **self.trainer})

        return compare(self.build, self.feed(), trainer, seeds=self.seeds, cache=cache, **options), trained

    def keys(self, make: TrainerMaker, tasks: tuple[str, ...] = ("sign", "size")) -> dict[str, str]:
        """Return the key of each twin."""
        found = {}
        for task in tasks:
            L.seed_everything(self.seeds[0], verbose=False)
            trainer = make(**{"callbacks": self.callbacks(task), **self.trainer})
            found[task] = twin_key(self.build([task]), trainer, self.feed(), self.seeds[0], {})
        return found


def changed(part: str, row: int = 3, column: str = "size", value: Any = 7.5) -> dict[str, Any]:
    made = splits()
    made[part][row] = {**made[part][row], column: value}
    return {"s": made}


def keep(folder: str, **options: Any) -> Callable[[str], list[L.Callback]]:
    return lambda run: [ModelCheckpoint(f"{folder}/{run}", **{"monitor": "validate/score", "mode": "max", **options})]


CHANGES: dict[str, dict[str, Any]] = {
    "the rate of the optimizer": {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.06)},
    "the optimizer's momentum": {"optimizer": lambda groups: torch.optim.SGD(groups, lr=RATE, momentum=0.5)},
    "the optimizer": {"optimizer": lambda groups: torch.optim.AdamW(groups, lr=RATE)},
    "no optimizer of one's own": {"optimizer": None},
    "fine-tuning": {"optimizer": FineTuning(lr=0.05)},
    "the weights at the start": {"trunk": zeroed},
    "a setting of a trunk of one's own": {"trunk": lambda: Trunk(slope=0.1)},
    "the code of a trunk": {"trunk": Steeper},
    "the class of the module": {"kind": Own},
    "a head": {"head": lambda: Multiclass(2, dropout=0.1)},
    "the weight of a task": {"weight": 2.0},
    "a loss": {"loss": nn.functional.l1_loss},
    "a row of training": {"sources": lambda: changed("train")},
    "a row of validation": {"sources": lambda: changed("validation")},
    "a row of the test": {"sources": lambda: changed("test")},
    "an input": {"sources": lambda: changed("train", 0, "x", [0.0, 1.0, 2.0, 3.0])},
    "a row less": {"sources": lambda: {"s": {**splits(), "train": rows()[:-1]}}},
    "the batch": {"data": {"batch_size": 19}},
    "the steps of an epoch": {"data": {"steps_per_epoch": 2}},
    "the seed of the data": {"data": {"seed": 5}},
    "epochs": {"trainer": {"max_epochs": 2}},
    "steps": {"trainer": {"max_steps": 2}},
    "a limit": {"trainer": {"limit_test_batches": 0.5}},
    "the seed": {"seeds": (4,)},
    "clipping": {"trainer": {"gradient_clip_val": 0.1}},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "precision": {"trainer": {"precision": "64-true"}},
    "a callback": {"callbacks": lambda run: [EarlyStopping("validate/score", mode="max")]},
}


def quiet(**options: Any) -> L.Trainer:
    off = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return L.Trainer(**{"accelerator": "cpu", "max_epochs": 1, "logger": False, **off, **options})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the twins of the setting as it is."""
    folder = tmp_path_factory.mktemp("cache")
    Setting().compare(quiet, folder)
    assert len(list(folder.iterdir())) == 2
    return folder


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The keys of the setting as it is."""
    return Setting().keys(quiet)


def test_the_same_twins_are_not_trained_again(kept: Path, trainer: TrainerMaker) -> None:
    without, _ = Setting().compare(trainer, None)
    found, trained = Setting().compare(trainer, kept)
    assert trained == ["multi-task/seed3"]
    assert found.cached == found.record()["cached"] == 2
    assert "twins read from the cache: 2 of 2" in str(found)
    assert found.tasks == without.tasks  # to the last bit
    assert without.cached is None
    assert found.costs is not None
    assert without.costs is not None
    assert found.costs["single-task"].parameters == without.costs["single-task"].parameters
    assert "cache" not in str(without)


def test_more_seeds_train_only_their_own_twins(kept: Path, trainer: TrainerMaker) -> None:
    found, trained = Setting(seeds=(3, 4)).compare(trainer, kept)
    assert trained == ["multi-task/seed3", "multi-task/seed4", "sign/seed4", "size/seed4"]
    assert found.cached == 2
    assert found.tasks == Setting(seeds=(3, 4)).compare(trainer, None)[0].tasks


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_makes_another_twin(change: str, before: dict[str, str]) -> None:
    setting = replace(Setting(), **CHANGES[change])
    after = setting.keys(quiet)
    same = {"a head": "size", "the weight of a task": "size", "a loss": "sign"}.get(change)
    assert {task for task in before if before[task] == after[task]} == {same} - {None}
    again = "size" if same == "sign" else "sign"
    assert setting.keys(quiet, (again,)) == {again: after[again]}


def test_to_ask_for_a_key_draws_no_random_number(trainer: TrainerMaker) -> None:
    setting = Setting(sources=lambda: of_class(Fixed))
    L.seed_everything(3, verbose=False)
    module, made, data = setting.build(["sign"]), trainer(), setting.feed()
    state = torch.get_rng_state()
    twin_key(module, made, data, 3, {})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("change", ["the rate of the optimizer", "a row of the test", "epochs"])
def test_a_change_trains_again(change: str, kept: Path, trainer: TrainerMaker) -> None:
    setting = replace(Setting(), **CHANGES[change])
    found, trained = setting.compare(trainer, kept)
    assert trained == ["multi-task/seed3", "sign/seed3", "size/seed3"]
    again, more = setting.compare(trainer, kept)
    assert more == ["multi-task/seed3"]  # and then it is kept too
    assert again.tasks == found.tasks


def test_a_constant_that_the_optimizer_reads_counts(
    before: dict[str, str], trainer: TrainerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RATE", 0.07)
    assert not before.items() & Setting().keys(trainer).items()


def test_what_only_watches_and_where_checkpoints_are_do_not_count(
    before: dict[str, str], trainer: TrainerMaker
) -> None:
    bar = Setting(callbacks=lambda run: [TQDMProgressBar()], trainer={"enable_progress_bar": True})
    assert bar.keys(trainer) == before
    saving = {"enable_checkpointing": True}
    here, there, worst = (
        Setting(callbacks=keep(folder, **options), trainer=saving).keys(trainer)
        for folder, options in (("a", {}), ("b", {}), ("a", {"mode": "min"}))
    )
    assert here == there
    assert not here.items() & worst.items()
    assert not here.items() & before.items()


def test_the_second_stage_is_trained_from_the_network_of_the_day(kept: Path, trainer: TrainerMaker) -> None:
    _, trained = Setting().compare(trainer, kept, two_stage=True)
    assert trained == ["multi-task/seed3", "two-stage-sign/seed3", "two-stage-size/seed3"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"form": 1, "judged": {"metric": "r2", "sign": 1, "value": "much"}, "cost": null}']
)
def test_a_file_that_holds_no_result_is_written_anew(text: str, trainer: TrainerMaker, tmp_path: Path) -> None:
    first, _ = Setting().compare(trainer, tmp_path / "deep/cache")
    files = sorted((tmp_path / "deep/cache").iterdir())
    held = files[0].read_text()
    files[0].write_text(text)
    with pytest.warns(UserWarning, match="of `cache` holds no result"):
        found, trained = Setting().compare(trainer, tmp_path / "deep/cache")
    assert (len(trained), found.cached, found.tasks) == (2, 1, first.tasks)
    assert json.loads(files[0].read_text())["judged"] == json.loads(held)["judged"]


class Augmented:
    """Rows that are others each time."""

    def __init__(self, seed: int) -> None:
        self.rows = rows(20, seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        row = self.rows[number]
        return {**row, "x": [value + torch.rand(()).item() for value in row["x"]]}


class Fixed(Augmented):
    def __getitem__(self, number: int) -> Row:
        return self.rows[number]


def ready() -> dict[str, Any]:
    collate = lambda of: {name: torch.tensor([row[name] for row in of]) for name in of[0]}  # noqa: E731
    made: dict[str, Any] = splits()
    return {"s": {part: DataLoader(of, batch_size=20, collate_fn=collate) for part, of in made.items()}}


def stream() -> dict[str, Any]:
    made: dict[str, Any] = splits()
    return {"s": {**made, "train": datasets.Dataset.from_list(made["train"]).to_iterable_dataset()}}


def of_class(kind: type[Augmented]) -> dict[str, Any]:
    return {"s": {part: kind(i) for i, part in enumerate(("train", "validation", "test"))}}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"sources": ready}, "source 's' is a ready DataLoader"),
        ({"sources": stream}, "source 's' is a stream"),
        ({"sources": lambda: of_class(Augmented)}, "rows of a Augmented differ each time"),
        ({"callbacks": lambda run: [Holding()]}, "which cannot be copied"),
    ],
)
def test_what_cannot_be_told_is_trained_and_not_kept_and_that_is_said_once(
    setting: dict[str, Any], says: str, trainer: TrainerMaker, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match=says) as said:
            found, trained = replace(Setting(), **setting).compare(trainer, tmp_path / "cache")
        assert len([of for of in said if "`cache`" in str(of.message)]) == 1
        assert (len(trained), found.cached) == (3, 0)
    assert not (tmp_path / "cache").exists()


class Holding(L.Callback):
    def __init__(self) -> None:
        self.numbers = (i for i in range(3))


def test_rows_of_a_dataset_of_one_s_own_are_read(trainer: TrainerMaker, tmp_path: Path) -> None:
    setting = Setting(sources=lambda: of_class(Fixed))
    assert [len(setting.compare(trainer, tmp_path)[1]) for _ in range(2)] == [3, 1]


def test_sampling_counts(trainer: TrainerMaker) -> None:
    """Also where two sources are the same rows: the twin reads its own."""
    both = lambda: {"sign": splits(), "size": splits()}  # noqa: E731
    one, same, other = (
        Setting(sources=both, data={"sampling": Temperature(value)}).keys(trainer) for value in (1.0, 1.0, 2.0)
    )
    assert one == same
    assert not one.items() & other.items()


def test_the_function_of_a_rule_counts(trainer: TrainerMaker) -> None:
    both = lambda: {"sign": splits(), "size": splits()}  # noqa: E731
    rules = [FunctionOfStep(lambda step: [1.0, 1.0 + step]), FunctionOfStep(lambda step: [1.0, 2.0 + step])]
    one, other = (Setting(sources=both, data={"sampling": rule}).keys(trainer) for rule in rules)
    assert not one.items() & other.items()


def test_rows_that_a_twin_does_not_read_do_not_count(trainer: TrainerMaker) -> None:
    before = Setting(sources=lambda: {"sign": splits(), "size": splits()}).keys(trainer)
    after = Setting(sources=lambda: {"sign": splits(), "size": changed("train")["s"]}).keys(trainer)
    assert before["sign"] == after["sign"]
    assert before["size"] != after["size"]


def test_a_file_is_no_cache(trainer: TrainerMaker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`cache` must be a folder, got"):
        Setting().compare(trainer, tmp_path / "file")


PROGRAM = """
import functools, enum, torch, numpy as np, datasets
from torch import nn
from lightning_mtl import BagOfWords, HardSharing, Recurrent, Task, Vocabulary
from lightning_mtl.digests import digest
torch.manual_seed(0)
class Mine(nn.Module):
    words = {"a", "b", "c"}
    def forward(self, x): return x if x in {"u", "v", "w"} else self.words
def made(scale): return lambda x: scale * x
print(digest([
    {"b", "a", "c"}, {"x": 1.5, "y": None}, made(2), functools.partial(made, 3), Mine(), torch.relu, np.float32(2), torch.bfloat16,
    HardSharing(BagOfWords(4, buckets=10)), Task("a"), datasets.Dataset.from_dict({"x": [1, 2], "t": ["a", None]}),
    HardSharing(Recurrent(4, tokenizer=Vocabulary(9).fit(["a b c d"]))),
]))
"""


def test_a_digest_is_the_same_in_every_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this one, whose hashes are its own, and in another one."""
    (tmp_path / "program.py").write_text(PROGRAM)
    runpy.run_path(str(tmp_path / "program.py"), run_name="__main__")
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "program.py")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert other.stdout == capsys.readouterr().out


def scaled(scale: float) -> Callable[[float], float]:
    return lambda x: scale * x


DIFFERENT: list[Any] = [
    0, 0.0, False, None, "", "0", b"0", [], [0], (0,), {}, {0: 0}, {"0": 0}, set(), {0}, {0, 1},
    torch.zeros(1), torch.zeros(2), torch.zeros(1, 1), torch.ones(1), torch.zeros(1, dtype=torch.double), nn.Parameter(torch.zeros(1)),
    scaled(1.0), scaled(2.0), len, torch.relu, nn.Linear, Trunk, Steeper, nn.ReLU(), nn.Tanh(), nn.Dropout(0.1), nn.Dropout(0.2),
    [["a"], "b"], [["a", "b"]], ["a", ["b"]], datasets.Dataset.from_dict({"x": [1]}), datasets.Dataset.from_dict({"x": [2]}),
    torch.float, torch.device("cpu"), Path("a"), Path("b"), range(3), range(4),
]  # fmt: skip


def test_digests_tell_apart_what_differs() -> None:
    made = [digest(value) for value in DIFFERENT]
    assert len(set(made)) == len(made)


def test_rows_count_and_not_their_fingerprint() -> None:
    """Which may be of a name and a time."""
    one, other = (datasets.Dataset(pa.table({"x": [value]}), fingerprint="same") for value in (1, 2))
    assert digest(one) != digest(other)
    assert digest(one) != digest(one.with_transform(lambda rows: rows))
    table = datasets.Dataset.from_dict({"x": [1, 2, 3]})
    assert digest(table.select([2, 0])) != digest(table.select([0, 2]))


def test_the_version_of_a_package_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest([nn.ReLU(), torch.relu])
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "0")
        version_of.cache_clear()
        assert digest([nn.ReLU(), torch.relu]) != before
    version_of.cache_clear()
    assert digest([nn.ReLU(), torch.relu]) == before
    assert version_of("yaml") == yaml.__version__
    assert version_of("json") == sys.version
    assert version_of("__main__") is None


def test_what_refers_to_itself_has_a_digest() -> None:
    knot: list[Any] = [1]
    knot.append(knot)
    assert digest(knot) == digest(knot) != digest([1, [1]])


@pytest.mark.parametrize(
    "value",
    [(i for i in range(2)), iter(os.scandir()), torch.empty(2, device="meta")],
    ids=lambda value: type(value).__name__,
)
def test_what_may_be_another_the_next_time_has_no_digest(value: Any) -> None:
    with pytest.raises(NoDigestError):
        digest({"of": value})
