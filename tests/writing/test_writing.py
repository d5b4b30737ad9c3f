"""Files and folders are written whole or not at all."""

from __future__ import annotations

import csv
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from lightning_mtl.saving import write_whole_checkpoints
from lightning_mtl.writing import newest, put_in_place, refuse_unwritable, whole_file, whole_folder, write_csv

from .. import builders, models
from ..cases import over


@contextmanager
def full_disk(room: int = 2048) -> Iterator[None]:
    """Let no file grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def killed(write: Callable[[], None], at: int) -> bool:
    """Run something in a process that dies at its `at`-th change of the file system; return whether it died."""
    if (child := os.fork()) == 0:
        seen = [0]

        def audit(event: str, args: Any) -> None:
            if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (event == "open" and args[1] == "w"):
                seen[0] += 1
                if seen[0] > at:
                    os._exit(9)

        sys.addaudithook(audit)
        write()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()} if folder.exists() else {}


def put(folder: Path, files: dict[str, str]) -> None:
    with whole_folder(folder) as part:
        for name, text in files.items():
            (part / name).write_text(text)


OLD, NEW = {"weights": "old " * 20, "names": "old"}, {"weights": "new " * 20, "names": "new"}


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("before", [False, True], ids=["a new folder", "an older one"])
def test_a_writer_that_is_killed_anywhere_leaves_all_files_of_one_writing(before: bool, tmp_path: Path) -> None:
    ends = set()
    for at in range(40):
        folder = tmp_path / str(at)
        if before:
            put(folder, OLD)
            (folder / "LICENSE").write_text("mine")
        died = killed(lambda: put(folder, NEW), at)  # noqa: B023
        found = {name: newest(folder, name).read_text() for name in NEW if newest(folder, name).exists()}
        assert found in ([OLD, NEW] if before else [{}, NEW])
        assert (folder / "LICENSE").exists() is before
        ends.add((died, found == NEW))
        put(folder, NEW)  # the next writer cleans up
        assert {name: held(folder)[name] for name in NEW} == NEW
        if not died:
            break
    assert ends >= {(True, False), (False, True)}
    assert not died


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_what_was_there(before: bool, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file.txt"
    if before:
        put(folder, OLD)
        file.write_text("old")
    with full_disk():
        with pytest.raises(OSError, match="File too large"):
            put(folder, {"names": "new", "weights": "new" * 2000})
        with pytest.raises(OSError, match="File too large"), whole_file(file) as part:
            part.write_text("new" * 2000)
    assert held(folder) == (OLD if before else {})
    assert sorted(path.name for path in tmp_path.iterdir()) == (["file.txt", "folder"] if before else [])
    assert not before or file.read_text() == "old"


def test_a_link_stays_a_link_and_a_device_is_written_directly(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(tmp_path / "there")
    with whole_file(tmp_path / "here") as part:
        part.write_text("text")
    assert (tmp_path / "here").is_symlink()
    assert (tmp_path / "there").read_text() == "text"
    with whole_file("/dev/null") as part:
        assert part == Path("/dev/null")


def test_files_and_folders_take_each_others_places(tmp_path: Path) -> None:
    for number, (made, place) in enumerate(
        [("file", "file"), ("file", "dir"), ("dir", "file"), ("dir", "dir"), ("dir", "none")]
    ):
        source, target = tmp_path / f"made{number}", tmp_path / f"place{number}"
        for path, kind in ((source, made), (target, place)):
            if kind == "dir":
                path.mkdir()
                (path / "in it").write_text(path.name)
            elif kind == "file":
                path.write_text(path.name)
        put_in_place(source, target)
        assert not source.exists()
        assert (target / "in it" if made == "dir" else target).read_text() == f"made{number}"
    assert len(list(tmp_path.iterdir())) == 5


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refuse_unwritable("cache", tmp_path / "new" / "deeper", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for wrong in (tmp_path / "file", tmp_path / "file" / "under"):
        with pytest.raises(
            ValueError, match=f"`cache` must be a folder that can be written, got '{wrong}': .*\\. Name another"
        ):
            refuse_unwritable("cache", wrong, "Name another.")


@over("start", "=+-@\t")
def test_no_cell_of_a_table_is_a_formula(start: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [["task", f"{start}header"], [f'{start}HYPERLINK("x")', -1.5]])
    cells = [cell for row in csv.reader(path.read_text().splitlines()) for cell in row]
    assert cells == ["task", f"'{start}header", f'\'{start}HYPERLINK("x")', "-1.5"]


@pytest.mark.parametrize("background", [False, True])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(background: bool, tmp_path: Path) -> None:
    trainer = models.quiet(plugins=[AsyncCheckpointIO()] if background else [])
    trainer.strategy.connect(builders.module())
    write_whole_checkpoints(trainer.strategy)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    trainer.strategy.checkpoint_io.teardown()
    whole = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="File too large"):  # noqa: PT012
        trainer.save_checkpoint(path)
        trainer.strategy.checkpoint_io.teardown()
    assert path.read_bytes() == whole
    assert torch.load(path, weights_only=True)["lightning_mtl"]
    assert list(tmp_path.iterdir()) == [path]
