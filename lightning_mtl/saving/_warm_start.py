"""A model that begins with the weights of another."""

from __future__ import annotations

from pathlib import Path

from .._plain import unescaped
from .._table import one_line
from ..task import MultiTask
from ._files import read_model
from ._loading import learn_from
from ._tasks import is_other


def warm_start(module: MultiTask, path: str | Path) -> dict[str, list[str]]:
    """Begin with the weights of another model, as far as they fit: its encoder, and heads of tasks of the same name.

    Call it before training. What was taken and what was not is printed. A task without a `head` takes the one of
    the other model; the scale of features comes along with an encoder that was trained on it.

    Args:
        module: The module.
        path: A checkpoint, or a folder that `save_pretrained` wrote.

    Returns:
        Names of parts, such as "encoder" and "heads.topic": "taken"; "new", which the other model lacks or has in another
        shape; "left", which this model has no place for.

    Raises:
        ValueError: It is no checkpoint of this library, or nothing in it fits.
    """
    description, state = read_model(path)
    learn_from(module, description)
    module.build_encoder()
    own = {name: value for name, value in module.state_dict().items() if not name.startswith("balancer.")}
    state = {name: value for name, value in state.items() if not name.startswith("balancer.")}  # of other tasks
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    parts = {name: _part(name) for name in {*own, *state}}
    partly = {parts[name] for name in {*own, *state} if name not in fits and parts[name].startswith("heads.")}
    unlike = {f"heads.{task.name}" for task in module.tasks if is_other(task, description)}
    fits = {name: value for name, value in fits.items() if parts[name] not in partly | unlike}
    if not fits:
        raise ValueError(
            f"`path` must hold weights that fit this model, got {str(path)!r} with {sorted({_part(name) for name in state})}, "
            "none of which has the shape of a part here. Use the same encoder."
        )
    module.load_state_dict(fits, strict=False)
    taken = {parts[name] for name in fits}
    found = {
        "taken": sorted(taken),
        "new": sorted({parts[name] for name in own} - taken),
        "left": sorted({parts[name] for name in state} - taken),
    }
    rest = [name for name in own if parts[name] in taken and name not in fits]
    said = "; ".join(f"{what}: {', '.join(names) or 'nothing'}" for what, names in found.items())
    more = f" Of what was taken, {rest} did not fit and is new." if rest else ""
    print(one_line(f"Warm start from {path}: {said}.{more}"))
    return found


def _part(name: str) -> str:
    part, *rest = name.split(".")
    return f"heads.{unescaped(rest[0])}" if part == "heads" else part
