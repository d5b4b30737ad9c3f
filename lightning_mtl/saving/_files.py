"""Checkpoints and folders, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoders import HuggingFace
from ..writing import newest
from ._finite import refuse_spoiled_weights
from ._format import FILE, KEY, refuse_later

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
    checkpoint = torch.load(path, map_location="meta", weights_only=weights_only)
    if not isinstance(checkpoint, Mapping) or not any(str(key).startswith(KEY) for key in checkpoint):
        found = f"keys {list(checkpoint)[:6]}" if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        raise ValueError(
            f"`checkpoint_path` must be a checkpoint of lightning-mtl, got {str(path)!r} with {found}. Other weights go into an "
            "encoder: encoder.load_state_dict(torch.load(path)), or HuggingFace(folder)."
        )
    refuse_later(checkpoint.get(KEY, {}), str(path))
    return checkpoint


def read_model(path: str | Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description and the weights of a checkpoint or a folder."""
    if Path(path).is_dir():
        description = json.loads(newest(Path(path), FILE).read_text(encoding="utf-8"))
        refuse_later(description, str(path))
        return description, read_weights(description, Path(path))
    description = read_checkpoint(path).get(KEY, {})
    return description, torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


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
    """Read what `write_weights` wrote, as one state dictionary."""
    trunk = description.get("hugging_face")
    state = dict(_safetensors().load_file(newest(folder, _WEIGHTS[trunk is not None])))
    if trunk is not None:
        weights = _safetensors().load_file(newest(folder, "model.safetensors"))
        state |= {f"{trunk}.model.{name}": value for name, value in weights.items()}
    return state


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Folders of weights need the package safetensors: pip install safetensors") from error
    return safetensors.torch
