"""Errors about files that are cut short, damaged, of something else, or hold code: they name the file and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

_AGAIN = "Copy it again, or take an earlier one."
_NAMED = re.compile(r"(?:GLOBAL|[Gg]lobal:)\s+(?:GLOBAL\s+)?([\w.]+)")


def open_checkpoint(path: Any, map_location: Any = None, *, weights_only: bool | None = True) -> Any:
    """Read a checkpoint.

    Args:
        path: The checkpoint.
        map_location: Where its tensors go.
        weights_only: Whether to refuse code in it; otherwise the code runs.

    Raises:
        ValueError: It is cut short, damaged, no checkpoint, or holds code.
    """
    with readable(path):
        return torch.load(path, map_location=map_location, weights_only=weights_only)


@contextmanager
def readable(path: Any) -> Iterator[None]:
    """Turn errors of torch about a checkpoint into errors that name it.

    Args:
        path: The checkpoint.

    Raises:
        ValueError: It is cut short, damaged, no checkpoint, or holds code.
    """
    try:
        yield
    except IsADirectoryError as error:
        refuse_sharded(path)
        raise ValueError(
            f"A checkpoint must be a file here, got the folder {str(path)!r}. A folder of `save_pretrained` is read by from_pretrained; "
            "elsewhere name a file in it."
        ) from error
    except Exception as error:  # bytes that are no checkpoint can raise anything
        if isinstance(error, OSError) and error.filename is not None:  # names the file
            raise
        # What torch says of it goes on to advise `weights_only=False`, which runs the code in a file.
        raise ValueError(_said(path, error)) from None


def refuse_sharded(folder: Any) -> None:
    """Check that a folder is not a checkpoint of which each process wrote a part.

    Args:
        folder: The folder.

    Raises:
        ValueError: It is.
    """
    if all((Path(folder) / file).is_file() for file in (".metadata", "meta.pt")):
        raise ValueError(
            f"A checkpoint must be a file here, got the folder {str(folder)!r}, of which each process of a sharded run wrote a part "
            "(save_distributed_checkpoint=True, or FSDPStrategy). Make it a file to load, test or predict: python -m "
            f"lightning.fabric.utilities.consolidate_checkpoint {folder} (of FSDPStrategy: lightning.pytorch.utilities.consolidate_checkpoint). "
            "To go on training, resume with that strategy."
        )


def refuse_foreign(checkpoint: Any, key: str, where: str) -> None:
    """Check that a file that could be read is a checkpoint of this library.

    Args:
        checkpoint: Its content.
        key: How the keys begin that mark one.
        where: The file.

    Raises:
        ValueError: It is not.
    """
    if isinstance(checkpoint, Mapping) and any(str(of).startswith(key) for of in checkpoint):
        return
    found = f"keys {list(checkpoint)[:6]}" if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
    raise ValueError(
        f"`checkpoint_path` must be a checkpoint of lightning-mtl, got {where!r} with {found}. Other weights go into an "
        "encoder: encoder.load_state_dict(torch.load(path)), or HuggingFace(folder)."
    )


def damaged(where: str, error: Exception, what: str = "file") -> ValueError:
    """Return an error about a file of which a part is missing or wrong.

    Args:
        where: The file or folder.
        error: What was raised.
        what: What it is.
    """
    said = " ".join(str(error).split())[:200]
    return ValueError(
        f"The {what} {where!r} is cut short, damaged, or of another model ({type(error).__name__}: {said}). {_AGAIN}"
    )


def _said(path: Any, error: Exception) -> str:
    start = _first_bytes(path)
    if start == b"":
        return f"A checkpoint must hold a model, got {str(path)!r}, which is empty. {_AGAIN}"
    named = _NAMED.search(str(error)) if isinstance(error, UnpicklingError) else None
    if named:
        return (
            f"A checkpoint must hold numbers and texts, got {str(path)!r}, which names {named[1]}: opening it could run code, so it "
            "was not opened. Do not trust it; if you wrote it yourself, leave your own objects out of it, e.g. by "
            "save_hyperparameters(ignore=[...])."
        )
    if start is None or start.startswith(b"PK"):
        return f"A checkpoint must be whole, got {str(path)!r}, which is cut short or damaged ({type(error).__name__}). {_AGAIN}"
    return (
        f"A checkpoint must be a file that `ModelCheckpoint` or `Trainer.save_checkpoint` wrote, got {str(path)!r}, which is none, or "
        f"damaged ({type(error).__name__}). Name another file."
    )


def _first_bytes(path: Any) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(4)
    except (OSError, TypeError):  # a stream, or an address
        return None
