"""Options that make no sense, or not together, are refused in one line, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_mtl.cli._messages import as_options
from lightning_mtl.recipes import glyphs, sinusoid, table, tagging
from tests.cli.test_bare import files

OWN = ["--data.path=rows.csv", "--targets=a,b", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
REFUSED = {
    "--trainer.accelerator=gpu": "The options of the Trainer must suit this machine and each other, got --trainer.accelerator",
    "--trainer.strategy=nonsense": "The options of the Trainer must suit this machine",
    "--trainer.barebones=true": "The options of the Trainer must suit this machine",
    "--trainer.limit_test_batches=0": "`--trainer.limit_test_batches` must be above 0",
    "--trainer.limit_val_batches=0": "`--trainer.limit_val_batches` must be above 0",
    "--trainer.limit_train_batches=0": "`--trainer.limit_train_batches` must be above 0",
    "--trainer.max_epochs=0": "`--trainer.max_epochs` must be above 0",
    "--trainer.accumulate_grad_batches=0": "`--trainer.accumulate_grad_batches` must be above 0",
    "--seeds=0": "`--seeds` must be a whole number of at least 1, got 0",
    "--seed_everything=4294967295 --seeds=3": "a whole number from 0 to 4294967293 with --seeds=3",
    "--seed_everything=4294967296": "`--seed_everything` must be a whole number",
    "--seed_everything=-1": "`--seed_everything` must be a whole number",
    "--seed_everything=false": "`--seed_everything` must be a whole number",
    "--weight_search=2 --seeds=2": "`--seeds` must be left out beside `--weight_search`",
    "--weight_search=2 --placement=all": "`--weight_search` and `--placement` must stand alone",
    "--weight_search=2 --compare=false": "`--weight_search` must stand without",
    "--weight_search=1": "`trials` must be a whole number of at least 2",
    "--save_every=3": "`--save_every` must stand beside --compare=false",
    "--save_every=0 --compare=false": "`--save_every` must be a whole number of at least 1",
    "--ckpt_path=no.ckpt": "Add --compare=false --seeds=1",
    "--ckpt_path=no.ckpt --compare=false": "Add --seeds=1",
    "--ckpt_path=no.ckpt --compare=false --seeds=1": "which is no file",
    "--cache=rows.csv": "`--cache` must be a folder",
    "--cache=kept --compare=false": "`--cache` must stand where one network is compared",
    "--two_stage=-1": "`--two_stage` must be true, false or a positive share",
}


@pytest.mark.filterwarnings("ignore:GPU available", "ignore:The number of training batches")
def test_options_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recipe"])
    files(tmp_path)
    for options, says in REFUSED.items():
        names = {option.split("=")[0] for option in options.split()}
        with pytest.raises(SystemExit) as left:
            table.main([*(option for option in OWN if option.split("=")[0] not in names), *options.split()])
        told = capsys.readouterr().err
        assert (left.value.code, says in told) == (2, True), (options, told)
        assert "Traceback" not in told
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("main", "options", "says"),
    [
        (
            sinusoid.main,
            ["--data.shots=3"],
            "`--data.shots` must be left out, since `--settings` sets it (5 points: 5, 10 points: 10)",
        ),
        (glyphs.main, ["--model.method=ANIL"], "`--model.method` must be left out, since `--methods` sets it"),
        (sinusoid.main, ["--full=true", "--trainer.max_epochs=3"], "since `--full=true` sets it (full: 20)"),
        (sinusoid.main, ["--trainer.limit_test_batches=0.5"], "must be a whole number of batches of episodes"),
        (sinusoid.main, ["--trainer.limit_test_batches=0"], "`--trainer.limit_test_batches` must be above 0"),
        (tagging.main, ["--model.on_top=true"], "`--model.on_top` must be left out where top and levels are compared"),
    ],
)
def test_options_that_others_would_overwrite_are_refused(
    main: object,
    options: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recipe"])
    assert callable(main)
    with pytest.raises(SystemExit):
        main(options)
    assert says in capsys.readouterr().err


def test_arguments_are_named_as_options() -> None:
    options = ["--seeds", "--data.path", "--data.targets", "--targets", "--model.width", "--trainer.max_epochs"]
    said = "`path`, `targets`, `width`, `max_epochs`, `seeds`, `other` and `a.b`, and max_epochs"
    found = "`--data.path`, `--targets`, `--model.width`, `--trainer.max_epochs`, `--seeds`, `other` and `a.b`, and max_epochs"
    assert as_options(said, options) == found
