"""A network for several tasks: a shared encoder, and a head for each task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from torch import nn

from .._distributed import shard
from .._lightning import trainer_of
from ..balancers import Balancer, FromGramian, Weighting
from ..encoders import Encoder, LevelledEncoder
from ..gradients import Measuring, own_balancer
from ..heads import ByName
from ..inputs import Inputs
from ..optim import FineTuning, MakeOptimizer, ParameterGroups
from ..saving import kind_of, load_checkpoint, load_folder, save_pretrained, warm_start, write_whole_checkpoints
from ..task import Loss, Routing, Task
from ._checks import column_sizes, refuse_bad_tasks, refuse_no_encoder, refuse_unknown_heads
from ._own_loss import checked_loss

Module = TypeVar("Module", bound="TaskNetwork")


class TaskNetwork(L.LightningModule):
    """A network for several tasks: made, given an optimizer, saved and loaded; `TaskModule` adds how it is trained."""

    lr: float | None = None
    """Rate that replaces the optimizer's own (`FineTuning.lr`, or that of trunk and heads), e.g. from Lightning's `Tuner`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        encoder: Encoder,
        *,
        balancer: Balancer | Weighting | None = None,
        measuring: Measuring | None = None,
        optimizer: MakeOptimizer | None = None,
    ) -> None:
        super().__init__()
        self.measuring = measuring or Measuring()
        self.measuring.refuse(balancer)
        refuse_no_encoder(encoder)
        refuse_bad_tasks(tasks)
        self.encoder = encoder
        self.inputs: dict[str, Inputs] = {}
        """How the rows of each source become inputs of the encoder; `MultiTaskDataModule` fills it before training."""
        self.heads = ByName()
        self.losses = ByName()
        self.balancer = own_balancer(balancer)
        """How the tasks of a step are balanced; not used with a single task."""
        self.lost_balancer: str | None = None
        """Name of the balancer that the model's checkpoint could not hold."""
        self.unusual: frozenset[str] | None = None
        """Buffers and frozen parameters that were not finite when training began, as masks may be; None before training."""
        self._frozen: list[nn.Module] = []
        self._optimizer = optimizer
        self._set_tasks([_copy_of(task) for task in tasks])

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        """Set the tasks, and make their heads as far as they are known."""
        self.tasks = tuple(tasks)
        self.routing = Routing(tasks)
        self.build_heads()

    def add_task(self, task: Task, *, freeze: bool = False) -> None:
        """Add a task to a model that was trained on others; what it has learned stays.

        Args:
            task: The new task.
            freeze: Whether to freeze the encoder and the present heads. Then the old tasks need no data: those whose
                source is missing are left out of training.

        Raises:
            ValueError: A task has this name already.
        """
        refuse_bad_tasks([*self.tasks, task])
        for old in self.tasks if self.inputs else ():
            old.source = old.resolve(self.inputs)  # with more sources, "the only source" is not defined any more
        if freeze:
            self._frozen = [self.encoder, *self.heads.values(), *self._other_parts()]
            for part in self._frozen:
                part.requires_grad_(False)
        self._set_tasks([*self.tasks, _copy_of(task)])

    def build_layers(self) -> None:
        """Make the layers that depend on the data: heads that were not given, and the encoder's layers for a table.

        A data module calls it when it has read the data, so that callbacks find all layers in their `setup`.
        """
        self.build_encoder()
        if len(self.heads) < len(self.tasks):
            self.build_heads()

    def build_encoder(self) -> None:
        """Make the layers of the encoder that depend on the data."""
        self.encoder.build(column_sizes(self.encoder, self.inputs))

    def build_heads(self) -> None:
        """Make the layers of the heads that are known; when all are, the losses that follow from them."""
        for task in self.tasks:
            if task.head is not None:
                task.head.build(self._width(task))
                self.heads[task.name] = task.head
            if isinstance(task.loss, nn.Module) and task.name not in self.losses:
                self.losses[task.name] = copy.deepcopy(task.loss)
        if len(self.heads) == len(self.tasks):
            self._losses: list[Any] = [self._loss(task) for task in self.tasks]

    def _loss(self, task: Task) -> Loss:
        head = task.known_head()
        if task.loss is None:
            return head.loss_of
        own: Any = self.losses._modules.get(task.key, task.loss)
        return lambda prediction, target: checked_loss(
            task.name, own(prediction, head.scaled_labels(target)), prediction, target
        )

    # What a subclass may add

    def _width(self, task: Task) -> int:
        """Return the size of the features that a task's head reads."""
        return self.encoder.width

    def shared(self) -> nn.Module:
        """Return what tasks share, whose gradients a balancer weighs."""
        return self.encoder

    def moved_by(self, task: int) -> set[int]:
        """Return the tasks whose heads the loss of this task moves."""
        return {task}

    def _level_rows(self) -> Any:
        """Return what is weighed at each level of a hierarchy; None where there are no levels."""
        return None

    def _other_parts(self) -> Sequence[nn.Module]:
        """Return other modules with parameters than encoder, heads and losses."""
        return ()

    def _learned_rules(self) -> dict[str, nn.Module]:
        """Return modules with learned parameters that are not the network's, by the names of their parameter groups."""
        return {} if self.balancer is None else {"balancer": self.balancer}

    def _parameter_levels(self) -> list[tuple[nn.Module, list[nn.Parameter]]]:
        """Return the module and all parameters of each level of the encoder; nothing where it has no levels."""
        return self.encoder.levelled() if isinstance(self.encoder, LevelledEncoder) else []

    def arguments(self) -> dict[str, Any]:
        """Return the arguments other than tasks, encoder and balancing, as plain data."""
        return {}

    def balancing(self) -> dict[str, Any]:
        """Return the arguments of balancing."""
        if self.balancer is None:
            return {}
        given: Any = self.balancer.function if isinstance(self.balancer, FromGramian) else self.balancer
        return {"balancer": given, **vars(self.measuring)}

    # Hooks of Lightning

    def configure_model(self) -> None:
        """Make the layers that depend on the data, unless a data module has had them made (see `build_layers`)."""
        self.build_layers()
        if trainer_of(self) is not None:  # else a checkpoint is being loaded
            write_whole_checkpoints(self.trainer.strategy)
            if not self.trainer.predicting or self.device_mesh is not None:  # else a checkpoint may still bring heads
                refuse_unknown_heads(self.tasks)
            self._match_precision()
            if self.device_mesh is not None:
                self._shard(self.device_mesh["data_parallel"])

    def on_predict_start(self) -> None:
        """Check that the heads are known, from data or from a checkpoint."""
        refuse_unknown_heads(self.tasks)

    def _match_precision(self) -> None:
        if trainer_of(self) is not None and self.trainer.precision == "64-true":
            self.double()  # Lightning does so after it has read a checkpoint, which would be rounded

    def _shard(self, mesh: Any) -> None:
        """Shard the parameters over the ranks, block by block, and what is left with the module itself (FSDP2)."""
        learned = [rule for rule in self._learned_rules().values() if list(rule.parameters())]
        shard(self.encoder.blocks(), mesh)
        shard([self.encoder], mesh, ("prepare", "tap") if isinstance(self.encoder, LevelledEncoder) else ())
        shard([*self.heads.values(), *learned, *self._other_parts()], mesh)
        shard([self], mesh, ("training_step", "validation_step", "test_step", "predict_step"))

    def configure_optimizers(self) -> Any:
        """Make the optimizer: by default AdamW at a rate of 0.001, with a group for the trunk and one for the heads.

        A head whose task has a `weight_decay` of its own is a group "heads/<task>".

        Raises:
            ValueError: A task has a weight decay, and the optimizer knows of none.
        """
        decays = {task.name: task.weight_decay for task in self.tasks if task.weight_decay is not None}
        stages = self.encoder.stages if isinstance(self.encoder, LevelledEncoder) else ()
        levels = self._parameter_levels()
        groups = ParameterGroups(self, self.heads, self._learned_rules(), decays, self.lr, levels, stages)
        if isinstance(self._optimizer, FineTuning):
            return groups.fine_tuning(self._optimizer, self.trainer)
        return groups.optimizer(self._optimizer)

    # Files

    @classmethod
    def kind(cls) -> str:
        """Return the name of the library's class that it is, or extends."""
        return kind_of(cls)

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

        A subclass with an `__init__` of its own is made as Lightning does it, from saved hyper-parameters and `kwargs`;
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
            ValueError: It is not a checkpoint of this library, its format is of a later version, or a part of the model has a
                class of your own and is not given.
        """
        options = {"map_location": map_location, "hparams_file": hparams_file, "strict": strict}
        load = super().load_from_checkpoint
        return load_checkpoint(cls, load, checkpoint_path, tasks, encoder, kwargs, weights_only=weights_only, **options)

    @classmethod
    def from_pretrained(
        cls: type[Module],
        folder: str | Path,
        *,
        tasks: Sequence[Task] | None = None,
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> Module:
        """Load a model that `save_pretrained` wrote, in evaluation mode, on the CPU.

        Args:
            folder: The folder.
            tasks: See `load_from_checkpoint`.
            encoder: See `load_from_checkpoint`.
            kwargs: Other arguments of `__init__`, e.g. `optimizer`.

        Raises:
            FileNotFoundError: The folder holds no such model.
            ValueError: See `load_from_checkpoint`.
        """
        return load_folder(cls, folder, tasks, encoder, kwargs)

    save_pretrained = save_pretrained
    warm_start = warm_start


def _copy_of(task: Task) -> Task:
    """Copy a task with its head, so that modules made of the same tasks share nothing."""
    own = copy.copy(task)
    own.head = copy.deepcopy(task.head)
    return own
