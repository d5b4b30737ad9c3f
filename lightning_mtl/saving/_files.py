"""Checkpoints and folders, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..encoders import HuggingFace
from ..writing import newest
from ._finite import refuse_spoiled_weights
from ._format import FILE, KEY, refuse_later
from ._opening import damaged, open_checkpoint, refuse_foreign, refuse_sharded

_WEIGHTS = {False: "model.safetensors", True: "heads.safetensors"}
"""File name of the weights, by whether the encoder is a Hugging Face model, which writes a file of its own."""


def read_checkpoint(path: str | Path, *, weights_only: bool = True) -> Mapping[str, Any]:
    """Read a checkpoint of this library, with its weights left on no device ("meta").

    Args:
        path: The checkpoint.
        weights_only: Whether to refuse code in it; otherwise the code runs.

    Raises:
        ValueError: It is no checkpoint of this library, or of a later format.
    """
    checkpoint: Mapping[str, Any] = open_checkpoint(path, "meta", weights_only=weights_only)
    refuse_foreign(checkpoint, KEY, str(path))
    refuse_later(checkpoint.get(KEY, {}), str(path))
    return checkpoint


def read_model(path: str | Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description and the weights of a checkpoint or a folder."""
    if Path(path).is_dir():
        description = read_folder(path)
        return description, read_weights(description, Path(path))
    description = read_checkpoint(path).get(KEY, {})
    return description, open_checkpoint(path, "cpu")["state_dict"]


def read_folder(folder: str | Path) -> Mapping[str, Any]:
    """Read the description of a folder that `save_pretrained` wrote.

    Raises:
        FileNotFoundError: The folder is not one of these.
        ValueError: It is of a later version, or damaged, or a checkpoint of a sharded run.
    """
    file = newest(Path(folder), FILE)
    if not file.exists():
        refuse_sharded(folder)
        raise FileNotFoundError(
            f"`folder` must be one that `save_pretrained` wrote, got {str(folder)!r}, which has no {FILE}. A folder of "
            "transformers is an encoder: HardSharing(HuggingFace(folder))."
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, no text
        raise damaged(str(file), error) from error
    if not isinstance(description, dict):
        raise damaged(str(file), TypeError(f"a description is a dictionary, got {type(description).__name__}"))
    refuse_later(description, str(folder))
    return description


def write_weights(module: Any, folder: Path) -> str | None:
    """Write a module's weights: a Hugging Face trunk as transformers writes it, the rest beside it.

    Returns:
        The name of the Hugging Face trunk within the module, if there is one.

    Raises:
        ModuleNotFoundError: `safetensors` is not installed.
    """
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, HuggingFace)]
    trunk = found[0][0] if len(found) == 1 else None
    state = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    refuse_spoiled_weights(module, state)
    if trunk is not None:
        found[0][1].save(folder)
        state = {name: value for name, value in state.items() if not name.startswith(f"{trunk}.model.")}
    _safetensors().save_file(state, folder / _WEIGHTS[trunk is not None], metadata={"format": "pt"})
    return trunk


def read_weights(description: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """Read what `write_weights` wrote, as one state dictionary.

    Raises:
        ValueError: A file is missing, cut short or damaged.
    """
    trunk = description.get("hugging_face")
    state = _read_tensors(newest(folder, _WEIGHTS[trunk is not None]))
    if trunk is not None:
        weights = _read_tensors(newest(folder, "model.safetensors"))
        state |= {f"{trunk}.model.{name}": value for name, value in weights.items()}
    return state


def _read_tensors(file: Path) -> dict[str, Tensor]:
    load_file = _safetensors().load_file
    try:
        return dict(load_file(file))
    except Exception as error:  # safetensors has an error of its own
        raise damaged(str(file), error) from error


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Folders of weights need the package safetensors: pip install safetensors") from error
    return safetensors.torch
