"""A number for each row, which rows with the same values share, in every process."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_EXACT = 2**53
"""Whole numbers up to this one are exact in float64."""
_NOTHING = np.uint64(0x9E3779B97F4A7C15)
"""The key of a missing value."""


def row_keys(columns: Sequence[Any], count: int) -> np.ndarray:
    """Return a key for each row, as uint64; numbers that are equal have one key, whatever their type.

    Args:
        columns: The columns, each an Arrow array or a list.
        count: How many rows there are.

    Example:
        >>> keys = row_keys([[1, 1.0, 2], ["a", "a", "a"]], 3)
        >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
        (True, False)
    """
    made = np.zeros(count, dtype=np.uint64)
    for column in columns:
        made = _mixed(made + _keys(column))
    return made


def _keys(column: Any) -> np.ndarray:
    if isinstance(column, list):
        try:
            column = pa.array(column)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return np.array([_key(value) for value in column], dtype=np.uint64)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # too large for one
        return np.concatenate([_keys_of_array(chunk) for chunk in column.chunks])
    return _keys_of_array(column)


def _keys_of_array(array: Any) -> np.ndarray:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _keys_of_array(array.storage)
    if pa.types.is_dictionary(kind):
        return _keys_of_array(array.dictionary_decode())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        made = _keys_of_numbers(array)
    elif any(of(kind) for of in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        made = _keys_of_lists(array)
    elif pa.types.is_struct(kind):
        made = row_keys([pc.struct_field(array, [i]) for i in _fields(array)], len(array))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        made = pd.util.hash_array(array.to_numpy(zero_copy_only=False))
    else:
        made = np.array([_key(value) for value in array.to_pylist()], dtype=np.uint64)
    return np.where(array.is_null().to_numpy(zero_copy_only=False), _NOTHING, made)


def _keys_of_numbers(array: Any) -> np.ndarray:
    if pa.types.is_integer(array.type):
        whole = array.fill_null(0).to_numpy()
        if len(whole) and max(abs(int(whole.min())), abs(int(whole.max()))) > _EXACT:
            return _mixed(whole.astype(np.uint64))
    numbers = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return _mixed((numbers + 0.0).view(np.uint64))  # -0.0 is 0.0


def _keys_of_lists(array: Any) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    inner = _keys_of_array(pc.list_flatten(array))
    place = np.arange(len(inner), dtype=np.uint64) - np.repeat(ends - lengths, lengths).astype(np.uint64)
    sums = np.concatenate(
        [np.zeros(1, dtype=np.uint64), np.cumsum(_mixed(inner + _mixed(place + np.uint64(1))), dtype=np.uint64)]
    )
    return _mixed(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))


def _fields(array: Any) -> list[int]:
    """Return the fields of structs that count: of files with their content, the content, wherever they lie."""
    content = array.type.get_field_index("bytes")
    files = content >= 0 and array.type.get_field_index("path") >= 0
    return [content] if files and not pc.struct_field(array, [content]).null_count else [*range(array.type.num_fields)]


def _key(value: Any) -> int:
    """Return the key of a single object: by its bytes where it has some, else by how it is written."""
    array = value.numpy(force=True) if hasattr(value, "numpy") else value
    found = (
        array.tobytes() if hasattr(array, "tobytes") else value if isinstance(value, bytes) else repr(value).encode()
    )
    return zlib.crc32(found) | (zlib.adler32(found) << 32)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Spread the bits of keys, as splitmix64 does."""
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: np.ndarray = keys ^ (keys >> np.uint64(31))
    return made
