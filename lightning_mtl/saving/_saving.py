"""Models written into checkpoints and folders."""

from __future__ import annotations

import json
from pathlib import Path

from .._lightning import trainer_of
from ..task import MultiTask
from ._checkpoints import described
from ._files import write_weights
from ._format import FILE, Description
from ._model_card import model_card


def description_of(module: MultiTask) -> Description:
    """Describe a model as plain data, for a checkpoint."""
    return described(module.tasks, module.encoder, module.inputs, module.balancing(), module.arguments(), module.kind())


def save_pretrained(module: MultiTask, folder: str | Path) -> None:
    """Write a folder to share: weights (safetensors), a JSON description, and a model card.

    With a Hugging Face encoder, the folder is one of `transformers` too: `AutoModel.from_pretrained(folder)` and
    `AutoTokenizer.from_pretrained(folder)` read the fine-tuned encoder without this library.

    Args:
        module: The module.
        folder: Where to write; made if it is not there.

    Raises:
        ModuleNotFoundError: `safetensors` is not installed.
    """
    trainer = trainer_of(module)
    if not getattr(trainer, "is_global_zero", True):
        return  # another process writes it
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    place = write_weights(module, folder)
    description = {"hugging_face": place, **description_of(module)}
    (folder / FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
    scores = {name: float(value) for name, value in getattr(trainer, "callback_metrics", {}).items()}
    (folder / "README.md").write_text(model_card(module.tasks, module.encoder, scores), encoding="utf-8")
