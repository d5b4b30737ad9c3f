"""The format of a model's description, and what of it cannot be read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

KEY = "lightning_mtl"
"""Where a checkpoint holds the description."""
FORMAT = 1
"""Version of the description; 0 is that of checkpoints without one (up to 0.1)."""
FILE = "lightning_mtl.json"
"""File name of a folder's description."""

Description = dict[str, Any]


def refuse_later(description: Mapping[str, Any], where: str) -> None:
    """Check that the format of a description is known.

    Raises:
        ValueError: It is a later one.
    """
    found = description.get("format", 0)
    if found > FORMAT:
        raise ValueError(f"The format of {where} must be {FORMAT} at most, got {found}. Install a later lightning-mtl.")


def refuse_other_kind(description: Mapping[str, Any], kind: str, where: str) -> None:
    """Check that a description is that of a module of this kind.

    Raises:
        ValueError: It is that of another kind.
    """
    found = description.get("module", "MultiTaskModule")
    if description and found != kind:
        raise ValueError(
            f"{where} must be loaded by {found}, got {kind}. Use {found}.load_from_checkpoint or .from_pretrained."
        )


def refuse_custom(custom: Mapping[str, str], where: str, remedy: str) -> NoReturn:
    """Raise an error that names the user's own classes, and says how to give them.

    Args:
        custom: Qualified names of the classes, by their paths.
        where: What is read, for the error message.
        remedy: The argument to give.
    """
    raise ValueError(
        f"{where} holds no classes of your own, and the model has {', '.join(f'{path}: {name}' for path, name in custom.items())}."
        f" Give them: load_from_checkpoint(path, {remedy})."
    )
