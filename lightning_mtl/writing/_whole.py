"""A file that is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path beside the file to write to; at the end it takes the file's place, at once.

    When the writer is killed, or the disk is full, an older file stays as it was.

    Args:
        path: The file. What is no regular file, e.g. /dev/stdout, is written directly.

    Example:
        >>> from tempfile import mkdtemp
        >>> with whole_file(Path(mkdtemp()) / "notes.txt") as part:
        ...     written = part.write_text("all of it")
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f".{uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
