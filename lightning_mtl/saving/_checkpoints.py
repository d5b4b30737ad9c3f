"""A model as plain data: what a checkpoint or a folder needs to rebuild it with nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..encoders import Encoder, HuggingFace, Tokenizer
from ..heads import Head
from ..inputs import Input, Inputs, Text, Words
from ..task import Task
from ._description import describe, own, rebuild

KEY = "lightning_mtl"
"""Where a checkpoint holds the description."""
FORMAT = 1
"""Version of the description; 0 is that of checkpoints without one (up to 0.1)."""

FILE = "lightning_mtl.json"
"""What a folder's description is called."""
_WEIGHTS = {False: "model.safetensors", True: "heads.safetensors"}

Description = dict[str, Any]


def described(
    tasks: Sequence[Task],
    encoder: Encoder,
    inputs: Mapping[str, Inputs],
    balancing: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    module: str = "MultiTaskModule",
) -> Description:
    """Describe a model: its tasks, its encoder, how rows become what the encoder reads, how it was balanced, and what else it was made with."""
    shared = describe(encoder)
    tokenizer = None if own(shared) else encoder.tokenizer  # an encoder of the user's own comes without it
    return {
        "format": FORMAT,
        "tasks": [_task(task) for task in tasks],
        "encoder": shared,
        "inputs": {name: _inputs(of, tokenizer) for name, of in inputs.items()},
        "balancing": {name: describe(value) for name, value in (balancing or {}).items()},
        "arguments": describe(dict(arguments or {})),
        "module": module,
    }


def read_checkpoint(path: str | Path, *, weights_only: bool = True) -> Mapping[str, Any]:
    """Read a checkpoint of this library, without its weights being moved anywhere; with `weights_only` no code in it is run.

    Raises:
        ValueError: It is not one, or of a later format.
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


def refuse_later(description: Mapping[str, Any], where: str) -> None:
    """Look whether a description is of a format that is known.

    Raises:
        ValueError: It is of a later one.
    """
    found = description.get("format", 0)
    if found > FORMAT:
        raise ValueError(f"The format of {where} must be {FORMAT} at most, got {found}. Install a later lightning-mtl.")


def refuse_other_kind(description: Mapping[str, Any], kind: str, where: str) -> None:
    """Look whether a description is of a module of this kind.

    Raises:
        ValueError: It is of another.
    """
    found = description.get("module", "MultiTaskModule")
    if description and found != kind:
        raise ValueError(
            f"{where} must be loaded by {found}, got {kind}. Use {found}.load_from_checkpoint or .from_pretrained."
        )


def parts_of(
    description: Mapping[str, Any],
    tasks: Sequence[Task] | None,
    encoder: Encoder | None,
    where: str,
    others: Collection[str] = (),
) -> dict[str, Any]:
    """Rebuild tasks and encoder; those given take the place of what is described.

    Args:
        description: What `described` made, or nothing (format 0).
        tasks: Tasks that replace those of the same name; without a `head` they take the one described.
        encoder: An encoder that replaces the one described.
        where: What is read, for error messages.
        others: Names of other arguments that are given.

    Raises:
        ValueError: Something is a class of the user's own, or is not described, and is not given.
    """
    given = {task.name: task for task in tasks or ()}
    if "tasks" not in description:
        if tasks is None or encoder is None:
            raise ValueError(
                f"`tasks` and `encoder` must be given for {where}, which does not describe them (it was written by lightning-mtl "
                "0.1). Give them as they were in training."
            )
        return {"tasks": list(given.values()), "encoder": encoder}
    if unknown := [name for name in given if name not in {of["name"] for of in description["tasks"]}]:
        raise ValueError(
            f"`tasks` must be tasks of {where}, got {unknown}. Add a new one afterwards: module.add_task(...)."
        )
    made = [_rebuilt_task(of, given.get(of["name"]), where) for of in description["tasks"]]
    if encoder is None:
        if foreign := own(description["encoder"], "encoder"):
            _ask(foreign, where, "encoder=HardSharing(MyTrunk(...))")
        encoder = rebuild(description["encoder"])
    more = {name: of for name, of in description.get("arguments", {}).items() if name not in others}
    if foreign := own(more):
        _ask(foreign, where, ", ".join(f"{path.split('.')[0]}=..." for path in foreign))
    return {"tasks": made, "encoder": encoder, **rebuild(more)}


def balancing_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Rebuild the balancer and its settings; one of the user's own is left out (see `lost_balancer`)."""
    found = description.get("balancing", {})
    return {} if own(found) else rebuild(found)


def lost_balancer(description: Mapping[str, Any]) -> str | None:
    """Name the balancer of the user's own with which a model was trained."""
    return next(iter(own(description.get("balancing", {})).values()), None)


def inputs_of(description: Mapping[str, Any], encoder: Encoder) -> dict[str, Inputs]:
    """Rebuild how rows become what the encoder reads."""
    return {name: _rebuilt_inputs(of, encoder.tokenizer) for name, of in description.get("inputs", {}).items()}


def head_of(description: Mapping[str, Any], task: str) -> Description | None:
    """Find the description of a task's head."""
    return next((of["head"] for of in description.get("tasks", ()) if of["name"] == task), None)


def is_alike(head: Head, description: Mapping[str, Any]) -> bool:
    """Say whether a head is of the kind and size of the one described."""
    described_class = description["layers"].get("class", "").rsplit(".", 1)[-1]
    other = rebuilt_head(description) if described_class == type(head).__name__ else None
    if other is None or other.outputs != head.outputs or head.names not in (None, other.called):
        return False
    return all(getattr(head, of, None) == getattr(other, of, None) for of in ("scaled", "class_weight", "pos_weight"))


def is_other(task: Task, description: Mapping[str, Any]) -> bool:
    """Say whether a description has a head for this task that predicts something else: another kind, or labels named otherwise."""
    found = head_of(description, task.name)
    return found is not None and task.head is not None and not is_alike(task.head, found)


def refuse_other_inputs(description: Mapping[str, Any], inputs: Mapping[str, Inputs], encoder: Encoder) -> None:
    """Look whether data scale and code their columns as the model of a checkpoint was trained to read them.

    Raises:
        ValueError: They do not, since the training split is another one.
    """
    scaled = {name: of for name, of in inputs.items() if of.sizes()}
    if not scaled:
        return
    found = described((), encoder, scaled)["inputs"]
    for name, of in description.get("inputs", {}).items():
        if name in found and found[name] != of:
            raise ValueError(
                f"Source {name!r} must scale and code its columns as in the checkpoint, got another training split or other "
                "columns. Give the same training split; or load the model, which knows them: load_from_checkpoint(path)."
            )


def read_model(path: str | Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description and the weights of a checkpoint or a folder."""
    if Path(path).is_dir():
        description = json.loads((Path(path) / FILE).read_text(encoding="utf-8"))
        refuse_later(description, str(path))
        return description, read_weights(description, Path(path))
    description = read_checkpoint(path).get(KEY, {})
    return description, torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


def rebuilt_head(description: Mapping[str, Any]) -> Head:
    """Rebuild a head, with what it had learned."""
    head: Head = rebuild(description["layers"])
    head.restore(description["learned"])
    return head


def write_weights(module: nn.Module, folder: Path) -> str | None:
    """Write a module's weights: a Hugging Face trunk as transformers writes it, the rest beside it.

    Returns:
        The place of the Hugging Face trunk, if there is one.

    Raises:
        ModuleNotFoundError: `safetensors` is not installed.
    """
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, HuggingFace)]
    place = found[0][0] if len(found) == 1 else None
    state = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    if place is not None:
        found[0][1].save(folder)
        state = {name: value for name, value in state.items() if not name.startswith(f"{place}.model.")}
    _safetensors().save_file(state, folder / _WEIGHTS[place is not None], metadata={"format": "pt"})
    return place


def read_weights(description: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """Read what `write_weights` wrote, as one state dictionary."""
    place = description.get("hugging_face")
    state = dict(_safetensors().load_file(folder / _WEIGHTS[place is not None]))
    if place is not None:
        weights = _safetensors().load_file(folder / "model.safetensors")
        state |= {f"{place}.model.{name}": value for name, value in weights.items()}
    return state


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Folders of weights need the package safetensors: pip install safetensors") from error
    return safetensors.torch


_HABITS = ("level", "auxiliary", "feeds_from", "weight_decay")
"""Arguments of a task beside what it reads and predicts, and how it is judged."""


def _task(task: Task) -> Description:
    head = task.known_head()
    return {
        "name": task.name,
        "source": task.source,
        "target": task.target if isinstance(task.target, str | None) else list(task.target),
        "weight": task.weight,
        "level": task.level,
        "auxiliary": task.auxiliary,
        "feeds_from": list(task.feeds_from),
        "weight_decay": task.weight_decay,
        "loss": describe(task.loss),
        "metrics": describe(task.metrics),
        "head": {"layers": describe(head), "learned": head.learned()},
    }


def _rebuilt_task(of: Mapping[str, Any], given: Task | None, where: str) -> Task:
    name = of["name"]
    if given is not None and given.head is not None:
        return given
    wanted = {"head": of["head"]["layers"]} if given is not None else {**of, "head": of["head"]["layers"]}
    if foreign := own({key: wanted.get(key) for key in ("head", "loss", "metrics")}, f"task {name!r}"):
        _ask(foreign, where, f"tasks=[Task({name!r}, loss=..., metrics=..., head=...)]")
    head = rebuilt_head(of["head"])
    if given is not None:
        head = given.fit_out(head)
        source, target = given.source or of["source"], given.target or of["target"]
        habits = {key: getattr(given, key) for key in _HABITS}
        return Task(
            name,
            source,
            target=target,
            head=head,
            loss=given.loss,
            metrics=given.metrics,
            weight=given.weight,
            **habits,
        )
    loss, metrics = rebuild(of["loss"]), rebuild(of["metrics"])
    habits = {key: of[key] for key in _HABITS if key in of}  # earlier checkpoints lack some
    return Task(
        name, of["source"], target=of["target"], head=head, loss=loss, metrics=metrics, weight=of["weight"], **habits
    )


def _inputs(inputs: Inputs, tokenizer: Tokenizer | None) -> Description:
    if inputs.whole is not None:
        return {"own": f"{getattr(inputs.whole, '__module__', '')}.{getattr(inputs.whole, '__qualname__', 'collate')}"}
    return {"parts": [_part(part, tokenizer) for part in inputs.parts]}


def _part(part: Input, tokenizer: Tokenizer | None) -> Any:
    made = describe(part)
    if "args" in made and tokenizer is not None and getattr(part, "tokenizer", None) is tokenizer:
        made["args"].pop("tokenizer", None)  # the encoder has it
    return made


def _rebuilt_inputs(of: Mapping[str, Any], tokenizer: Tokenizer | None) -> Inputs:
    foreign = {"": of["own"]} if "own" in of else own(of["parts"])
    if foreign:
        return Inputs([], whole=_Missing(", ".join(foreign.values())))
    parts = [rebuild(part) for part in of["parts"]]
    for part in parts:
        if isinstance(part, Text | Words) and part.tokenizer is None:
            part.tokenizer = tokenizer
    return Inputs(parts)


class _Missing:
    """Stands for a function of the user's own, and asks for it when it is needed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rows: Any) -> NoReturn:
        raise ValueError(
            f"This model was trained with {self.name}, a function of your own, which no checkpoint holds. Give it: "
            "module.inputs[<source>] = Source(rows, transform=...).inputs(None, [])."
        )


def _ask(foreign: Mapping[str, str], where: str, remedy: str) -> NoReturn:
    raise ValueError(
        f"{where} holds no classes of your own, and the model has {', '.join(f'{path}: {name}' for path, name in foreign.items())}."
        f" Give them: load_from_checkpoint(path, {remedy})."
    )
