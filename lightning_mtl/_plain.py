"""Plain data, which JSON can hold, and names as parts of keys."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return data that JSON can hold: None for NaN and infinities, lists for tuples.

    Args:
        value: Numbers, texts, lists and dictionaries.

    Raises:
        TypeError: Something else is in it.

    Example:
        >>> plain({"scores": (1, float("nan"))})
        {'scores': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"A record must hold numbers, texts, lists and dictionaries, got {type(value).__name__}.")


_AMBIGUOUS = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_IN_FILES = re.compile(r'[\x00-\x1f\\/:*?"<>|]|^[.]|[. ]$')
_LONGEST_FILE = 200


def escaped(name: str, unsafe: str = "/") -> str:
    """Return a name of the user's as a part of a key, in which some characters have a meaning of their own.

    They become their code, as in an address; so does "%" before what looks like one. A name that needs none of it stays as it is.

    Args:
        name: The name.
        unsafe: The characters that mean something in the key.

    Example:
        >>> escaped("km/h"), escaped("growth in %"), unescaped(escaped("km/h"))
        ('km%2Fh', 'growth in %', 'km/h')
    """
    found = _AMBIGUOUS.sub("%25", name)
    for character in unsafe:
        found = found.replace(character, f"%{ord(character):02X}")
    return found


def unescaped(key: str) -> str:
    """Return the name that was `escaped`."""
    return _ESCAPED.sub(lambda code: chr(int(code[0][1:], 16)), key)


def file_name(name: str) -> str:
    """Return a name of the user's as the name of a file, on any system; a very long one is cut, with a hash of all of it."""
    found = _IN_FILES.sub(lambda bad: f"%{ord(bad[0]):02X}", _AMBIGUOUS.sub("%25", name))
    if len(found.encode()) <= _LONGEST_FILE:
        return found
    return found.encode()[:_LONGEST_FILE].decode(errors="ignore") + "-" + hashlib.sha256(name.encode()).hexdigest()[:16]


def without_masks(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a module with pruned weights as they are used: masks, and the names that go with them, come and go while a run prunes.

    Args:
        state: Tensors by name.

    Example:
        >>> import torch
        >>> without_masks({"weight_orig": torch.tensor([2.0, 3.0]), "weight_mask": torch.tensor([0.0, 1.0])})
        {'weight': tensor([0., 3.])}
    """
    masked = [name.removesuffix("_mask") for name in state if name.endswith("_mask")]
    pruned = {f"{name}_orig": name for name in masked if f"{name}_orig" in state}
    gone = {f"{name}_mask" for name in pruned.values()}
    return {
        pruned.get(name, name): of * state[f"{pruned[name]}_mask"].to(of) if name in pruned else of
        for name, of in state.items()
        if name not in gone
    }
