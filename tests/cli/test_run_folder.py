"""Every run has a folder of its own, the same on all of its ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest

from lightning_mtl.cli._run_folder import _new_folder, run_folder

PROGRAM = """
import sys
from pathlib import Path
import lightning as L
from lightning_mtl.cli._run_folder import run_folder
made = [run_folder(Path(sys.argv[1]), L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)) for _ in range(2)]
(Path(sys.argv[1]) / f"rank{L.Trainer(accelerator='cpu', devices=2, strategy='ddp', logger=False).global_rank}").write_text(
    " ".join(of.name for of in made)
)
"""


def test_one_process_takes_the_first_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    (tmp_path / "runs" / "run_1").mkdir(parents=True)
    assert [run_folder(tmp_path / "runs", trainer).name for _ in range(3)] == ["run_0", "run_2", "run_3"]


def test_a_job_names_its_runs(tmp_path: Path) -> None:
    assert [_new_folder(tmp_path, "77").name for _ in range(3)] == ["run_77", "run_77_1", "run_77_2"]


def test_the_ranks_of_torchrun_agree_on_a_free_name(tmp_path: Path) -> None:
    (tmp_path / "run_0").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    said = subprocess.run(
        [*command, "program.py", str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr[-2000:]
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["run_1 run_2"] * 2
