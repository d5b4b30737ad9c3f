"""Tables of files, kept as Arrow in the cache of `datasets` under a hash of all that they are made of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import datasets
import pyarrow as pa
import xxhash
from datasets.table import InMemoryTable, MemoryMappedTable


def kept(made_of: Iterable[bytes | str], make: Callable[[], datasets.Dataset]) -> datasets.Dataset:
    """Return rows from the cache; where they are not there yet, make and keep them.

    What is later prepared of the rows (e.g. tokens) is kept under the same hash, which is one of content: so another file under the
    same name, whatever its time stamp, is another.

    Args:
        made_of: The content of the file, and all else that the rows depend on, beside the code of this package.
        make: Reads the file.
    """
    key = _hash([*made_of, _code()])
    if not datasets.is_caching_enabled():
        return _with_key(make().data, key)
    file = Path(datasets.config.HF_DATASETS_CACHE) / "lightning_mtl" / key / "rows.arrow"
    found = _opened(file, key)
    if found is not None:
        return found
    rows = make()
    try:
        _write(rows.data.table, file)
    except OSError:  # a cache that cannot be written: the rows stay in memory
        return _with_key(rows.data, key)
    return _opened(file, key) or _with_key(rows.data, key)


def _opened(file: Path, key: str) -> datasets.Dataset | None:
    if not file.exists():
        return None
    try:
        return _with_key(MemoryMappedTable.from_file(str(file)), key)
    except (OSError, pa.ArrowInvalid):  # cut short
        return None


def _with_key(table: pa.Table | InMemoryTable | MemoryMappedTable, key: str) -> datasets.Dataset:
    return datasets.Dataset(table, fingerprint=key)


def _write(table: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, work = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=100_000)
        os.replace(work, file)
    except BaseException:
        Path(work).unlink(missing_ok=True)
        raise


def _hash(parts: Iterable[bytes | str]) -> str:
    hasher = xxhash.xxh3_128()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        hasher.update(f"{len(part)}:".encode())
        hasher.update(part)
    return hasher.hexdigest()


@cache
def _code() -> bytes:
    """Return the code that reads files, so that rows which an older version read are not taken."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
