"""A folder whose files belong together: all of them are written, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_NEW = ".new"
"""Within a folder: complete files that are being moved to their places."""


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder to write to; at the end its files take their places in the folder.

    When the writer is killed, or the disk is full, an older folder stays as it was; its other files always stay. Read the
    files with `newest`, which finds those of one writing at every moment.

    Args:
        path: The folder; made if it is not there.

    Example:
        >>> from tempfile import mkdtemp
        >>> with whole_folder(Path(mkdtemp()) / "model") as part:
        ...     written = (part / "weights").write_text("1, 2"), (part / "names").write_text("a, b")
    """
    path = Path(os.path.realpath(path))
    fresh = not path.exists()
    part = (path.parent if fresh else path) / f".{uuid4().hex[:12]}.part"
    part.mkdir(parents=True)
    try:
        yield part
        if fresh:
            part.rename(path)
        else:
            _settle(path)  # of a writer that was killed
            part.rename(path / _NEW)
            _settle(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def newest(folder: Path, name: str) -> Path:
    """Return where a file of a folder is, also when its writer was killed while it moved files to their places.

    Args:
        folder: The folder.
        name: The name of the file.
    """
    new = folder / _NEW / name
    return new if new.exists() else folder / name


def put_in_place(made: Path, path: Path) -> None:
    """Put a file or a folder that is complete in the place of another one.

    Args:
        made: What was made, beside the other one.
        path: The place.
    """
    if not path.is_dir() or path.is_symlink():
        if not made.is_dir():
            made.replace(path)
            return
        path.unlink(missing_ok=True)
        made.rename(path)
        return
    old = path.with_name(f".{uuid4().hex[:12]}.old")
    path.rename(old)
    made.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def refuse_unwritable(name: str, folder: str | Path, remedy: str) -> None:
    """Check that files can be written into a folder, or that it can be made; nothing is left there.

    Args:
        name: The argument that names the folder.
        folder: The folder.
        remedy: What else can be given.

    Raises:
        ValueError: They cannot.
    """
    there = next(of for of in (Path(folder), *Path(folder).absolute().parents) if of.exists())
    probe = there / f".{uuid4().hex[:12]}.part"
    try:
        probe.write_bytes(b"0")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"`{name}` must be a folder that can be written, got {str(folder)!r}: {error.strerror or error}. {remedy}"
        ) from error


def _settle(path: Path) -> None:
    """Move complete files to their places."""
    new = path / _NEW
    if new.is_dir():
        for file in sorted(new.iterdir()):
            put_in_place(file, path / file.name)
        new.rmdir()
