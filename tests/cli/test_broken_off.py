"""A comparison that is broken off tells what it knows, and goes on from there."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest

from lightning_mtl.recipes import sinusoid, table
from tests.cli.test_bare import files

QUICK = [
    *(
        "--data.path=rows.csv",
        "--targets=a,b",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--model.width=8",
    ),
    *("--trainer.enable_progress_bar=false", "--seeds=2"),
]


class Breaking(L.Callback):
    """Ends the program when so many networks have been trained."""

    after: ClassVar[int] = -1
    with_: ClassVar[type[BaseException]] = KeyboardInterrupt
    trained: ClassVar[int] = 0

    def on_train_start(self, *args: Any) -> None:
        Breaking.trained += 1
        if Breaking.trained - 1 == Breaking.after:
            raise Breaking.with_("the reason")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recipe"])
    Breaking.trained, Breaking.after = 0, -1
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on


def breaking(after: int, with_: type[BaseException] = KeyboardInterrupt) -> str:
    Breaking.trained, Breaking.after, Breaking.with_ = 0, after, with_
    return f"--trainer.callbacks+={__name__}.Breaking"


def record(run: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"runs/table/run_{run}/comparison.json").read_text())
    return found


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_comparison_that_is_interrupted_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(tmp_path)
    with pytest.raises(SystemExit) as left:
        table.main([*QUICK, breaking(after=4)])  # in the second seed
    said = capsys.readouterr().out
    assert left.value.code == 130
    assert "Broken off. Known so far" in said
    assert "paired seeds: 1" in said
    assert "--resume=runs/table/run_0" in said
    assert record(0)["seeds"] == [0]
    breaking(after=-1)
    table.main(["--resume=runs/table/run_0"])
    assert Breaking.trained == 3
    table.main(QUICK)
    assert record(0)["tasks"] == record(1)["tasks"]
    assert record(0)["seeds"] == [0, 1]
    table.main(["--resume", "runs/table/run_0", "--seeds=3"])
    assert record(0)["seeds"] == [0, 1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError, ValueError])
def test_an_error_leaves_what_is_known(
    error: type[BaseException], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files(tmp_path)
    with pytest.raises(error, match="the reason"):  # with its traceback: it is none of the library's
        table.main([*QUICK, breaking(after=3, with_=error)])
    assert "paired seeds: 1" in capsys.readouterr().out
    assert record(0)["seeds"] == [0]


def test_a_search_and_ways_to_learn_are_told_as_far_as_they_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files(tmp_path)
    with pytest.raises(SystemExit):
        table.main([*QUICK[:-1], "--weight_search=2", breaking(after=1)])
    assert "validation score, mean" in capsys.readouterr().out
    assert len(Path("runs/table/run_0/weight_search.csv").read_text().splitlines()) == 2
    few = ["--data.steps_per_epoch=2", "--data.test_episodes=4", "--trainer.max_epochs=1", QUICK[-2]]
    with pytest.raises(SystemExit):
        sinusoid.main([*few, breaking(after=1)])
    said = capsys.readouterr().out
    assert "5 points" in said
    assert "MAML" in said
    assert "Meta-SGD" not in said


def test_only_a_run_that_was_broken_off_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    for options, says in {
        ("--resume=nowhere",): "`--resume` must be the folder of a run",
        ("--resume=nowhere", "--model.width=3"): "got ['--model.width'] too",
    }.items():
        with pytest.raises(SystemExit):
            table.main(list(options))
        assert says in capsys.readouterr().err
