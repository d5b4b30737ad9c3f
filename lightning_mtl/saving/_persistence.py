"""Checkpoints and folders from which a model is rebuilt with nothing else."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from torch import nn

from ..balancers import Balancer
from ..encoders import Encoder, Tabular
from ..inputs import Inputs
from ..task import Task
from . import _checkpoints as saving
from ._model_card import model_card

Module = TypeVar("Module", bound="PersistentModule")


class PersistentModule(L.LightningModule):
    """A module of tasks and an encoder that describes itself in its checkpoints, and is rebuilt from them."""

    tasks: tuple[Task, ...]
    encoder: Encoder
    heads: nn.ModuleDict
    inputs: dict[str, Inputs]
    balancer: Balancer | None
    _lost_balancer: str | None

    @abstractmethod
    def balancing(self) -> dict[str, Any]:
        """Give the arguments that say how the tasks share a step."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Give the arguments beside tasks, encoder and balancing, as plain data."""

    @classmethod
    def kind(cls) -> str:
        """Name the class of this library that it is of."""
        return next(
            of.__name__
            for of in cls.__mro__
            if of.__module__.startswith(f"{__package__}.") and ".recipes." not in of.__module__
        )

    @abstractmethod
    def _build(self) -> None:
        """Make the layers of the heads, and the losses and metrics that follow from them."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add a description of the model, as plain data."""
        checkpoint[saving.KEY] = saving.described(
            self.tasks, self.encoder, self.inputs, self.balancing(), self.arguments(), self.kind()
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what the model had learned of its data: names of labels, scaling, thresholds."""
        description = checkpoint.get(saving.KEY, {})
        saving.refuse_later(description, "a checkpoint")
        saving.refuse_other_inputs(description, self.inputs, self.encoder)
        checkpoint["state_dict"] = self._balanced(checkpoint["state_dict"])
        self._take(description)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls: type[Module],
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        *,
        tasks: Sequence[Task] | None = None,
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> Module:
        """Load a trained model; the checkpoint holds all that is needed, as plain data.

        A subclass with an `__init__` of its own is made by Lightning's rule, from saved hyper-parameters and `kwargs`;
        `MultiTaskModule.load_from_checkpoint` reads its checkpoints too.

        Args:
            checkpoint_path: The checkpoint.
            map_location: See Lightning.
            hparams_file: See Lightning.
            strict: See Lightning.
            weights_only: Whether to refuse pickled code.
            tasks: Tasks that replace those of the same name in the checkpoint, e.g. with a loss of your own; without a
                `head` they take the one of the checkpoint.
            encoder: The encoder, if it is of a class of your own, which a checkpoint does not hold.
            kwargs: Other arguments of `__init__`, e.g. `optimizer`.

        Raises:
            ValueError: It is no checkpoint of this library, or of a later format, or something in the model is of a class of
                your own, and is not given.
        """
        checkpoint = saving.read_checkpoint(checkpoint_path, weights_only=weights_only is not False)
        given: dict[str, Any] = {"tasks": tasks, "encoder": encoder}
        if cls._described():
            saving.refuse_other_kind(checkpoint.get(saving.KEY, {}), cls.kind(), str(checkpoint_path))
            parts = saving.parts_of(checkpoint.get(saving.KEY, {}), tasks, encoder, str(checkpoint_path), kwargs)
            parts |= {} if "balancer" in kwargs else saving.balancing_of(checkpoint.get(saving.KEY, {}))
            parts = {name: value for name, value in parts.items() if name not in kwargs}
        else:
            parts = {name: value for name, value in given.items() if value is not None}
        options = {"strict": strict, "weights_only": weights_only}
        module = super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, **options, **parts, **kwargs)
        if "balancer" not in kwargs and module.balancer is None:
            module._lost_balancer = saving.lost_balancer(checkpoint.get(saving.KEY, {}))
        return module

    @classmethod
    def _described(cls) -> bool:
        """Whether tasks and encoder are what the class is made of: no subclass has an `__init__` of its own."""
        return cls.__init__.__module__.startswith(__package__ + ".") and ".recipes." not in cls.__init__.__module__

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder to share: weights (safetensors), a JSON description, and a model card.

        With a Hugging Face encoder, the folder is one of `transformers` too: `AutoModel.from_pretrained(folder)` and
        `AutoTokenizer.from_pretrained(folder)` read the fine-tuned encoder without this library.

        Args:
            folder: Where to write; made if it is not there.

        Raises:
            ModuleNotFoundError: `safetensors` is not installed.
        """
        if not getattr(self._trainer, "is_global_zero", True):
            return  # another process writes it
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        place = saving.write_weights(self, folder)
        description = {
            "hugging_face": place,
            **saving.described(self.tasks, self.encoder, self.inputs, self.balancing(), self.arguments(), self.kind()),
        }
        (folder / saving.FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
        scores = {name: float(value) for name, value in getattr(self._trainer, "callback_metrics", {}).items()}
        (folder / "README.md").write_text(model_card(self.tasks, self.encoder, scores), encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls: type[Module],
        folder: str | Path,
        *,
        tasks: Sequence[Task] | None = None,
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> Module:
        """Load what `save_pretrained` wrote; it comes in evaluation mode, on the CPU.

        Args:
            folder: The folder.
            tasks: See `load_from_checkpoint`.
            encoder: See `load_from_checkpoint`.
            kwargs: Other arguments of `__init__`, e.g. `optimizer`.

        Raises:
            FileNotFoundError: The folder is not one of these.
            ValueError: See `load_from_checkpoint`.
        """
        file = Path(folder) / saving.FILE
        if not file.exists():
            raise FileNotFoundError(
                f"`folder` must be one that `save_pretrained` wrote, got {str(folder)!r}, which has no {saving.FILE}. A folder of "
                "transformers is an encoder: HardSharing(HuggingFace(folder))."
            )
        description = json.loads(file.read_text(encoding="utf-8"))
        saving.refuse_later(description, str(folder))
        saving.refuse_other_kind(description, cls.kind(), str(folder))
        parts = saving.parts_of(description, tasks, encoder, str(folder), kwargs)
        parts |= {} if "balancer" in kwargs else saving.balancing_of(description)
        module = cls(**{**parts, **kwargs})
        if "balancer" not in kwargs and module.balancer is None:
            module._lost_balancer = saving.lost_balancer(description)
        module._take(description)
        module._build_encoder()
        module.load_state_dict(module._balanced(saving.read_weights(description, Path(folder))))
        return module.eval()

    def warm_start(self, path: str | Path) -> dict[str, list[str]]:
        """Begin with the weights of another model, as far as they fit: its encoder, and heads of tasks of the same name.

        Call it before training. What was taken and what was not is printed. A task without a `head` takes the one of
        the other model; the scale of features comes along with an encoder that was trained on it.

        Args:
            path: A checkpoint, or a folder that `save_pretrained` wrote.

        Returns:
            Names of parts, such as "encoder" and "heads.topic": "taken"; "new", which the other model lacks or has in another
            shape; "left", which this model has no place for.

        Raises:
            ValueError: It is no checkpoint of this library, or nothing in it fits.
        """
        description, state = saving.read_model(path)
        self._take(description)
        self._build_encoder()
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("balancer.")}
        state = {name: value for name, value in state.items() if not name.startswith("balancer.")}  # of other tasks
        fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        parts = {name: _part(name) for name in {*own, *state}}
        partly = {parts[name] for name in {*own, *state} if name not in fits and parts[name].startswith("heads.")}
        unlike = {f"heads.{task.name}" for task in self.tasks if saving.is_other(task, description)}
        fits = {name: value for name, value in fits.items() if parts[name] not in partly | unlike}
        if not fits:
            raise ValueError(
                f"`path` must hold weights that fit this model, got {str(path)!r} with {sorted({_part(name) for name in state})}, "
                "none of which has the shape of a part here. Use the same encoder."
            )
        self.load_state_dict(fits, strict=False)
        taken = {parts[name] for name in fits}
        found = {
            "taken": sorted(taken),
            "new": sorted({parts[name] for name in own} - taken),
            "left": sorted({parts[name] for name in state} - taken),
        }
        rest = [name for name in own if parts[name] in taken and name not in fits]
        said = "; ".join(f"{what}: {', '.join(names) or 'nothing'}" for what, names in found.items())
        print(
            f"Warm start from {path}: {said}." + (f" Of what was taken, {rest} did not fit and is new." if rest else "")
        )
        return found

    def _build_encoder(self) -> None:
        """Tell the encoder what only the data could tell: the size of a table's features."""
        sizes: dict[str, int] = {}
        for source, inputs in self.inputs.items():
            for name, size in inputs.sizes().items():
                if isinstance(getattr(self.encoder, "trunk", None), Tabular) and sizes.setdefault(name, size) != size:
                    raise ValueError(
                        f"Sources of one `Tabular` must have the same columns, got {sizes[name]} features in one source and {size} in "
                        f"{source!r}. Make one table of them, in which cells may be empty, or train a model for each."
                    )
                sizes[name] = size
        self.encoder.build(sizes)

    def _balanced(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what a balancer kept, where there is none: a model that only predicts needs none of it."""
        return {name: value for name, value in state.items() if self.balancer or not name.startswith("balancer.")}

    def _take(self, description: Mapping[str, Any]) -> None:
        for task in self.tasks:
            head = saving.head_of(description, task.name)
            if head is not None and task.head is None:
                task.take(saving.rebuilt_head(head))
            elif head is not None and task.head is not None and saving.is_alike(task.head, head):
                task.head.names = saving.rebuilt_head(head).called_or_none
                task.head.restore(head["learned"])
        self._build()
        if not self.inputs:
            self.inputs = saving.inputs_of(description, self.encoder)


def _part(name: str) -> str:
    return ".".join(name.split(".")[: 2 if name.startswith("heads.") else 1])
