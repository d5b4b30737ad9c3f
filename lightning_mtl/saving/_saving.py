"""Models written into checkpoints and folders."""

from __future__ import annotations

import json
from pathlib import Path

from .._lightning import trainer_of
from ..task import MultiTask
from ..writing import whole_folder
from ._checkpoints import described
from ._files import write_weights
from ._format import FILE, Description
from ._model_card import model_card


def description_of(module: MultiTask) -> Description:
    """Describe a model as plain data, for a checkpoint."""
    return described(module.tasks, module.encoder, module.inputs, module.balancing(), module.arguments(), module.kind())


def save_pretrained(module: MultiTask, folder: str | Path) -> None:
    """Write a folder to share: weights (safetensors), a JSON description, and a model card.

    All files are written, or none: when it breaks off, a model that was in the folder stays as it was.

    With a Hugging Face encoder, the folder is one of `transformers` too: `AutoModel.from_pretrained(folder)` and
    `AutoTokenizer.from_pretrained(folder)` read the fine-tuned encoder without this library.

    Args:
        module: The module.
        folder: Where to write; made if it is not there.

    Raises:
        ModuleNotFoundError: `safetensors` is not installed.
        ValueError: The folder is a file; or a weight is not finite.
    """
    trainer = trainer_of(module)
    if not getattr(trainer, "is_global_zero", True):
        return  # another process writes it
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"`folder` must be a folder, got {str(folder)!r}, which is a file. Name another.")
    scores = {name: float(value) for name, value in getattr(trainer, "callback_metrics", {}).items()}
    with whole_folder(folder) as part:
        description = {"hugging_face": write_weights(module, part), **description_of(module)}
        (part / FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
        (part / "README.md").write_text(model_card(module.tasks, module.encoder, scores), encoding="utf-8")
