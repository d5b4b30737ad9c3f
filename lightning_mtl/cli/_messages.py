"""Errors as a command line says them: without a traceback, and with the names of options."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Collection
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ..files import CellsError

_HERE, _LIGHTNING = Path(__file__).parents[1], Path(L.__file__).parent
_PREFIXES = ("", "data.", "data.cells.", "model.", "trainer.")


def message_of(error: BaseException, options: Collection[str]) -> str | None:
    """Return what a user of the command line is to be told; None for an error that only its traceback explains.

    Args:
        error: The error.
        options: The options of the command line, e.g. "--data.path".
    """
    ours = isinstance(error, ValueError | ModuleNotFoundError | OSError) and _raised_in(error, _HERE)
    of_trainer = isinstance(error, ValueError | RuntimeError) and _raised_in(error, _LIGHTNING)
    if not ours and not of_trainer and not isinstance(error, MisconfigurationException):
        return None
    return told(error, options)


def told(error: BaseException, options: Collection[str]) -> str:
    """Return the text of an error with the names of options, also in what settles how cells are read."""
    if isinstance(error, CellsError) and "--data.cells.types" in options:
        return as_options(error.on_command_line("data.cells"), options)
    return as_options(str(error).strip(), options)


def as_options(message: str, options: Collection[str]) -> str:
    """Name arguments as the options that set them.

    Example:
        >>> as_options("`limit_test_batches` must be above 0, got 0.", ["--trainer.limit_test_batches"])
        '`--trainer.limit_test_batches` must be above 0, got 0.'
        >>> as_options("`tap_grad['pos']` must be finite, got nan.", ["--model.tap_grad"])
        "`--model.tap_grad['pos']` must be finite, got nan."
    """

    def option(match: re.Match[str]) -> str:
        found = next((f"--{prefix}{match[1]}" for prefix in _PREFIXES if f"--{prefix}{match[1]}" in options), None)
        return match[0] if found is None else f"`{found}{match[2]}`"

    return re.sub(r"`(\w+)((?:\[[^`]*\])?)`", option, message)


def interrupted(error: BaseException) -> bool:
    """Return whether the user has interrupted the program: Lightning ends it then, with another error."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
    )


def program() -> str:
    """Return the command that started this program, without its options."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"python {sys.argv[0]}" if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


def _raised_in(error: BaseException, package: Path) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(package)
