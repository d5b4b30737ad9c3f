"""Models rebuilt from checkpoints and folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning as L

from .._lightning import trainer_of
from .._plain import without_masks
from ..encoders import Encoder
from ..task import MultiTask, Task
from ._checkpoints import balancing_of, inputs_of, lost_balancer, parts_of
from ._files import read_checkpoint, read_folder, read_weights
from ._format import KEY, refuse_later, refuse_other_kind
from ._inputs import refuse_other_inputs
from ._opening import damaged, refuse_foreign
from ._tasks import head_of, is_alike, rebuilt_head

_LIBRARY = f"{__name__.split('.')[0]}."
_RECIPES = f"{_LIBRARY}recipes."
Module = TypeVar("Module", bound=L.LightningModule)


def load_checkpoint(
    cls: type[Module],
    load: Callable[..., Module],
    path: str | Path,
    tasks: Sequence[Task] | None,
    encoder: Encoder | None,
    given: Mapping[str, Any],
    **options: Any,
) -> Module:
    """Load a checkpoint; see `MultiTaskModule.load_from_checkpoint`."""
    checkpoint = read_checkpoint(path, weights_only=options["weights_only"] is not False)
    description = checkpoint.get(KEY, {})
    if is_described(cls):
        parts = arguments_from(cls, description, str(path), tasks, encoder, given)
    else:  # by Lightning's rule, from saved hyper-parameters
        parts = {name: of for name, of in {"tasks": tasks, "encoder": encoder}.items() if of is not None}
    module = load(path, **options, **parts, **given)
    note_lost_balancer(module, description, given)
    return module


def load_folder(
    cls: type[Module],
    folder: str | Path,
    tasks: Sequence[Task] | None,
    encoder: Encoder | None,
    given: Mapping[str, Any],
) -> Module:
    """Load a folder; see `MultiTaskModule.from_pretrained`."""
    description = read_folder(folder)
    module: Any = cls(**arguments_from(cls, description, str(folder), tasks, encoder, given), **given)
    note_lost_balancer(module, description, given)
    learn_from(module, description)
    module.build_encoder()
    weights = without_lost_balancer(module, read_weights(description, Path(folder)))
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise damaged(str(folder), error, "folder") from error
    loaded: Module = module.eval()
    return loaded


def kind_of(cls: type[L.LightningModule]) -> str:
    """Return the name of the class of this library that a class is of."""
    return next(of.__name__ for of in cls.__mro__ if _is_ours(of.__module__))


def is_described(cls: type[L.LightningModule]) -> bool:
    """Return whether a description holds all that a class is made with: no subclass has an `__init__` of its own."""
    return _is_ours(cls.__init__.__module__)


def _is_ours(module: str) -> bool:
    return module.startswith(_LIBRARY) and not module.startswith(_RECIPES)


def arguments_from(
    cls: Any,
    description: Mapping[str, Any],
    path: str,
    tasks: Sequence[Task] | None,
    encoder: Encoder | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the arguments, beside those that are given, with which the model of a description is made.

    Raises:
        ValueError: It is of another class, or something in it is of a class of the user's own, and is not given.
    """
    refuse_other_kind(description, cls.kind(), path)
    try:
        parts = parts_of(description, tasks, encoder, path, given)
        parts |= {} if "balancer" in given else balancing_of(description)
    except (KeyError, AttributeError) as error:
        raise damaged(path, error, "description of a model in") from error
    return {name: value for name, value in parts.items() if name not in given}


def note_lost_balancer(module: Any, description: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Note the balancer of a description that could not be rebuilt: it must be given before training."""
    if "balancer" not in given and module.balancer is None:
        module.lost_balancer = lost_balancer(description)


def resume_from(module: MultiTask, checkpoint: dict[str, Any]) -> None:
    """Give a module what the model of a checkpoint had learned of its data: names of labels, scaling, thresholds.

    Raises:
        ValueError: The checkpoint is of something else, of a later version, or of data with other columns.
    """
    trainer = trainer_of(module)
    refuse_foreign(checkpoint, KEY, str(getattr(trainer, "ckpt_path", None) or "this one"))
    description = checkpoint.get(KEY, {})
    refuse_later(description, "a checkpoint")
    refuse_other_inputs(description, module.inputs, module.encoder)
    if "state_dict" in checkpoint:  # where parameters are sharded, the strategy has loaded it
        state = without_lost_balancer(module, checkpoint["state_dict"])
        own = module.state_dict()
        checkpoint["state_dict"] = without_masks(state) if len(without_masks(own)) == len(own) else state
    learn_from(module, description)


def without_lost_balancer(module: MultiTask, state: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a state what a balancer kept, where there is none: a model that only predicts needs none of it."""
    return {name: value for name, value in state.items() if module.balancer or not name.startswith("balancer.")}


def learn_from(module: MultiTask, description: Mapping[str, Any]) -> None:
    """Give a module the heads of a description, where it has none, and what like heads there had learned."""
    for task in module.tasks:
        head = head_of(description, task.name)
        if head is not None and task.head is None:
            task.take(rebuilt_head(head))
        elif head is not None and task.head is not None and is_alike(task.head, head):
            task.head.names = rebuilt_head(head).called_or_none
            task.head.restore(head["learned"])
    module.build_heads()
    if not module.inputs:
        module.inputs = inputs_of(description, module.encoder)
