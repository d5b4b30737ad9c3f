"""Whether a task is being forgotten: scores, alarms, best checkpoints, and the matrix of stages and tasks."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from torch import nn
from torchmetrics.classification import BinaryAccuracy

from lightning_mtl import Binary, HardSharing, MultiTaskDataModule, MultiTaskModule, Task
from lightning_mtl.callbacks import ForgettingMonitor
from lightning_mtl.callbacks._stages import Stages
from lightning_mtl.samplers import Phase, Phases, Rule
from tests.models import quiet

NAMES = ("a", "b", "c")
SGD: Any = lambda groups: torch.optim.SGD(groups, lr=0.5)  # noqa: E731


def rows(turn: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Points of the plane and a label: which side of a line they lie on, which is turned from task to task."""
    made = torch.Generator().manual_seed(seed + 10 * turn)
    x = torch.randn(count, 2, generator=made)
    side = (x @ torch.tensor([[1.0, 0.0], [-1.0, 0.3], [0.0, 1.0]])[turn]) > 0
    return [{"x": point.tolist(), "y": int(of)} for point, of in zip(x, side, strict=True)]


def data(sampling: Rule | None = None, **options: Any) -> MultiTaskDataModule:
    sources = {name: {"train": rows(i, 48, 0), "validation": rows(i, 20, 1)} for i, name in enumerate(NAMES)}
    return MultiTaskDataModule(sources, batch_size=8, sampling=sampling, seed=0, summary=False, **options)


def module(*, shared: bool = False, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    trunk = (
        nn.Sequential(nn.Linear(2, 1)) if shared else nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
    )
    heads = [Binary(layers=nn.Identity()) if shared else Binary() for _ in NAMES]
    tasks = [
        Task(name, name, target="y", head=head, metrics=BinaryAccuracy())
        for name, head in zip(NAMES, heads, strict=True)
    ]
    return MultiTaskModule(tasks, HardSharing(trunk, width=1 if shared else 8), **options)


def in_turn(passes: float = 2.0) -> Phases:
    return Phases([Phase([name], passes=passes) for name in NAMES], repeat=False)


def fitted(monitor: ForgettingMonitor | None, sampling: Rule | None, folder: Path, **options: Any) -> MultiTaskModule:
    made = module()
    L.seed_everything(1, verbose=False)
    callbacks = [] if monitor is None else [monitor]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task .* is being forgotten")
        quiet(folder, max_epochs=3, callbacks=callbacks, log_every_n_steps=2, **options).fit(made, data(sampling))
    return made


@pytest.mark.parametrize("sampling", [None, in_turn()])
@pytest.mark.parametrize("every", [None, 3])
def test_it_changes_nothing(sampling: Rule | None, every: int | None, tmp_path: Path) -> None:
    without = fitted(None, sampling, tmp_path)
    monitor = ForgettingMonitor(every, 12)
    seen = fitted(monitor, sampling, tmp_path, enable_checkpointing=True)
    assert monitor.scores
    for (name, one), other in zip(without.state_dict().items(), seen.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_scores_are_those_of_a_validation(tmp_path: Path) -> None:
    made, of = module(), data()
    trainer = quiet(tmp_path)
    trainer.fit(made, of)
    (found,) = trainer.validate(made, of, verbose=False)
    state, modes = torch.get_rng_state(), [part.training for part in made.modules()]
    loader = of.probe("validation")
    assert loader is not None
    assert made.assess(loader) == pytest.approx({name: found[f"validate/{name}/BinaryAccuracy"] for name in NAMES})
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in made.modules()] == modes


def test_a_probe_is_always_the_same_rows() -> None:
    of = data()
    of.setup("fit")
    loader = of.probe("validation", 7)
    assert loader is not None
    once, again = ([batch["a"]["x"].tolist() for batch in loader] for _ in range(2))
    assert once == again
    assert len(once) == 1
    assert of.probe("test") is None


def test_the_matrix_has_a_row_for_each_phase(tmp_path: Path) -> None:
    monitor = ForgettingMonitor()
    made, of = module(shared=True, optimizer=SGD), data(in_turn())
    trainer = quiet(tmp_path, max_epochs=2, callbacks=[monitor])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task .* is being forgotten")
        trainer.fit(made, of)
    told = monitor.record()
    assert told["stages"] == list(NAMES)
    (after,) = trainer.validate(made, of, verbose=False)
    last = [after[f"validate/{name}/BinaryAccuracy"] for name in NAMES]
    assert told["matrix"][-1] == pytest.approx(last)
    first, second, third = told["matrix"]
    forgotten = [max(first[0], second[0]) - third[0], max(first[1], second[1]) - third[1]]
    assert told["figures"]["forgetting"] == pytest.approx(sum(forgotten) / 2)
    assert told["figures"]["backward_transfer"] == pytest.approx((third[0] - first[0] + third[1] - second[1]) / 2)
    gained = [first[1] - told["initial"][1], second[2] - told["initial"][2]]
    assert told["figures"]["forward_transfer"] == pytest.approx(sum(gained) / 2)
    assert told["figures"]["forgetting"] > 0.2
    json.dumps(told, allow_nan=False)


def test_stages_in_which_no_task_was_scored_have_no_figures() -> None:
    stages = Stages(["a"])
    for number, scores in enumerate(([0.5], [0.6])):
        stages.end(number, f"s{number}", {"without a metric"}, scores)
    assert stages.figures() == {}
    stages.end(2, "s2", {"a"}, [0.9])
    stages.end(3, "s3", {"without a metric"}, [0.7])
    assert stages.figures()["forgetting"] == pytest.approx(0.2)


def test_forward_transfer_is_what_came_before_a_task_was_trained_first() -> None:
    stages = Stages(["a", "b", "c"], initial=[0.5, 0.5, 0.1])
    matrix = [[0.65, 0.45, 0.2], [0.8, 0.8, 0.3], [0.85, 0.9, 0.7]]
    for number, scores in enumerate(matrix):
        stages.end(number, f"s{number}", {"a", "b", "c"} if number == 2 else {"abc"[number], "a"}, scores)
    assert stages.figures()["forward_transfer"] == pytest.approx(((0.45 - 0.5) + (0.3 - 0.1)) / 2)
    assert Stages(**stages.state()).figures() == pytest.approx(stages.figures(), nan_ok=True)


def test_a_monitor_that_comes_late_knows_no_untrained_network(tmp_path: Path) -> None:
    sampling = in_turn()
    half = quiet(tmp_path, max_epochs=1, limit_train_batches=2)
    half.fit(module(), data(sampling))
    half.save_checkpoint(tmp_path / "half.ckpt")
    late = ForgettingMonitor()
    trainer = quiet(tmp_path, max_epochs=2, callbacks=[late])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task .* is being forgotten")
        trainer.fit(module(), data(sampling), ckpt_path=tmp_path / "half.ckpt", weights_only=False)
    told = late.record()
    assert (told["initial"], told["figures"]["forward_transfer"]) == (None, None)
    assert told["matrix"]


def test_tasks_that_are_best_at_one_step_share_one_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monitor = ForgettingMonitor(every=2)
    kept = ModelCheckpoint(dirpath=tmp_path, save_top_k=0)
    trainer = quiet(tmp_path, max_epochs=2, callbacks=[monitor, kept], enable_checkpointing=True)
    save = trainer.save_checkpoint

    def noted(path: Path, **options: Any) -> None:
        written.append(trainer.global_step)
        save(path, **options)

    monkeypatch.setattr(trainer, "save_checkpoint", noted)
    trainer.fit(module(), data())
    assert len(set(written)) == len(written) > 0
    for name, best in monitor.best.items():
        assert torch.load(tmp_path / "best" / f"{name}.ckpt", weights_only=False)["global_step"] == best["step"]


def test_what_is_written_later_is_not_copied(tmp_path: Path) -> None:
    monitor = ForgettingMonitor(every=2)
    kept = ModelCheckpoint(dirpath=tmp_path, save_top_k=0)
    options: dict[str, Any] = {"enable_checkpointing": True, "plugins": [AsyncCheckpointIO()]}
    quiet(tmp_path, max_epochs=2, callbacks=[monitor, kept], **options).fit(module(), data())
    for name, best in monitor.best.items():
        assert torch.load(tmp_path / "best" / f"{name}.ckpt", weights_only=False)["global_step"] == best["step"]


def test_a_task_that_is_forgotten_is_named_with_its_best_checkpoint(tmp_path: Path) -> None:
    monitor = ForgettingMonitor(every=2)
    first = Phases([Phase(["a"], passes=6.0), Phase(["b"])], repeat=False)
    made, of = module(shared=True, optimizer=SGD), data(first)
    kept = ModelCheckpoint(dirpath=tmp_path, save_top_k=0)
    trainer = quiet(tmp_path, max_epochs=4, callbacks=[monitor, kept], enable_checkpointing=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(made, of)
    pattern = r"Task 'a' is being forgotten: at step \d+ .* Its best checkpoint is safe, that of step \d+: .*a\.ckpt"
    assert sum(bool(re.match(pattern, str(warning.message))) for warning in told) == 1
    alarm = next(of for of in monitor.alarms if of["task"] == "a")
    assert alarm["step"] > 36
    assert alarm["drop"] > alarm["tolerance"]
    best = MultiTaskModule.load_from_checkpoint(alarm["safe"])
    (found,) = quiet(tmp_path).validate(best, of, verbose=False)
    told = monitor.record()["best"]
    assert told["tasks"][0] == "a"
    expected = [found[f"validate/{name}/BinaryAccuracy"] for name in NAMES]
    assert told["matrix"][0] == pytest.approx(expected)
    assert told["matrix"][0][0] == max(scores[0] for scores in monitor.scores)


def test_drawdown_is_shown_with_the_losses(tmp_path: Path) -> None:
    monitor = ForgettingMonitor(every=2, rows=8)
    trainer = quiet(tmp_path, callbacks=[monitor], log_every_n_steps=3)
    trainer.fit(module(), data())
    shown = trainer.callback_metrics
    seen = [scores[1] for scores, step in zip(monitor.scores, monitor.steps, strict=True) if step <= 6]
    assert shown["train/b/score"].item() == pytest.approx(seen[-1])
    assert shown["train/b/drawdown"].item() == pytest.approx(max(seen) - seen[-1])


@pytest.mark.parametrize("sampling", [None, in_turn(3.0)])
def test_a_resumed_run_ends_with_the_same_record(sampling: Rule | None, tmp_path: Path) -> None:
    def run(epochs: int, start: str | None = None) -> tuple[ForgettingMonitor, L.Trainer]:
        monitor = ForgettingMonitor(every=2, keep_best=False)
        L.seed_everything(1, verbose=False)
        trainer = quiet(tmp_path, max_epochs=epochs, callbacks=[monitor])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Task .* is being forgotten")
            trainer.fit(module(), data(sampling), ckpt_path=start, weights_only=False)
        return monitor, trainer

    whole, _ = run(4)
    _, half = run(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(4, str(tmp_path / "half.ckpt"))
    assert whole.record() == resumed.record()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be a whole number of at least 1"),
        ({"rows": 0}, "`rows` must be a whole number of at least 1"),
        ({"tolerance": -1.0}, "`tolerance` must be finite and at least 0"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForgettingMonitor(**options)


def test_a_run_without_validation_is_refused(tmp_path: Path) -> None:
    only = MultiTaskDataModule({name: {"train": rows(0, 8, 0)} for name in NAMES}, summary=False)
    with pytest.raises(ValueError, match="must have a split 'validation'"):
        quiet(tmp_path, callbacks=[ForgettingMonitor()]).fit(module(), only)


@pytest.mark.filterwarnings("ignore:.*configure_model")
@pytest.mark.parametrize("every", [None, 4])
def test_checkpoints_hold_the_averages_that_were_scored(every: int | None, tmp_path: Path) -> None:
    """Those of weights alone too, for which Lightning does not ask the callback that averages."""
    monitor = ForgettingMonitor(every)
    alone = ModelCheckpoint(tmp_path, "alone", monitor="validate/score", mode="max", save_weights_only=True)
    made = module()
    L.seed_everything(1, verbose=False)
    callbacks = [monitor, EMAWeightAveraging(decay=0.8), alone]
    quiet(max_epochs=3, enable_checkpointing=True, callbacks=callbacks).fit(made, data())
    runner = quiet()
    for name, best in monitor.best.items():
        found = MultiTaskModule.load_from_checkpoint(best["path"])
        runner.validate(found, data(), verbose=False)
        assert [found.scores()[of] for of in NAMES] == pytest.approx(best["scores"])
        assert found.scores()[name] == pytest.approx(best["score"])
    assert alone.best_model_score is not None
    runner.validate(MultiTaskModule.load_from_checkpoint(alone.best_model_path), data(), verbose=False)
    assert float(runner.callback_metrics["validate/score"]) == pytest.approx(float(alone.best_model_score))
