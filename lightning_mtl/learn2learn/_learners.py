"""Conversion of learners: those of learn2learn train in our modules, and our networks become learners of learn2learn.

Only `to_learn2learn` imports learn2learn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..adaptation import MAML, SGD, Adaptation, Cloning, EngineName, MetaSGD, Norm
from ..encoders import Encoder, HardSharing
from ..heads import Multiclass, Regression, through
from ..meta import MetaLearningModule
from ..task import Task


def from_learn2learn(
    learner: Any,
    tasks: Sequence[Task] | None = None,
    *,
    encoder: Encoder | None = None,
    steps: int = 1,
    evaluation_steps: int | None = None,
    engine: EngineName | None = None,
    norm: Norm = "transductive",
    optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
) -> MetaLearningModule:
    """Make a module from a learner of learn2learn; it trains the learner's own parameters, which are shared and not copied.

    Its MAML (`module`, `lr`, `first_order`) and MetaSGD (also `lrs`) become ours, with all engines. Any other learner, a module with
    `clone()` and `adapt(loss)`, adapts clones of itself, one episode after another; see `Cloning`.

    Args:
        learner: The learner. Its network replaces encoder and head.
        tasks: The tasks that it predicts, whose heads have no layers. Default: the column "y": a class, with as many classes as the
            network's last linear layer has outputs, or a number if it has one output.
        encoder: An encoder before the learner that is not adapted; then the learner's network is the layers of the head (ANIL).
        steps: Number of adaptation steps, which a learner does not know.
        evaluation_steps: Number of adaptation steps in evaluation. Default: `steps`.
        engine: See `MetaLearningModule`. Default: "auto"; for other learners "loop", which they need.
        norm: See `MetaLearningModule`. Default: as in learn2learn, except that no episode changes running statistics here.
        optimizer: See `MetaLearningModule`.

    Raises:
        TypeError: `learner` is no such learner.
        ValueError: Its head or its tasks cannot be derived, or it cannot use the engine.

    Example:
        >>> from types import SimpleNamespace
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5))
        >>> module = from_learn2learn(SimpleNamespace(module=network, lr=0.1, first_order=True))  # stands for l2l.algorithms.MAML
        >>> type(module.adaptation).__name__, module.adaptation.rate, {p is q for p, q in zip(module.parameters(), network.parameters())}
        ('MAML', 0.1, {True})
    """
    _refuse(learner, engine)
    adapts_itself = _adapts_itself(learner)
    network: nn.Module = learner if adapts_itself else learner.module
    given = [_guessed_task(network)] if tasks is None else list(tasks)
    if encoder is not None and len(given) != 1:
        raise ValueError(
            f"`tasks` must be one if an `encoder` is given, with the learner as its head, got {len(given)}."
        )
    complete = [_with_layers(task, nn.Identity() if encoder is None else network) for task in given]
    path = "encoder.trunk" if encoder is None else f"heads.{given[0].key}.layers"
    rule = _rule(learner, path, steps, evaluation_steps)
    shared = HardSharing(network, width=complete[0].known_head().outputs) if encoder is None else encoder
    module = MetaLearningModule(
        complete,
        shared,
        adaptation=rule,
        engine=engine or ("loop" if adapts_itself else "auto"),
        norm=norm,
        optimizer=optimizer,
    )
    if encoder is not None:
        module.tasks[0].known_head().layers = network  # replaces the module's copy
    if isinstance(module.adaptation, MetaSGD):
        named_rates = zip((name for name, _ in network.named_parameters()), learner.lrs, strict=True)
        module.adaptation.rates.update({_rate_key(f"{path}.{name}"): rate for name, rate in named_rates})
    return module


def to_learn2learn(module: MetaLearningModule) -> Any:
    """Make a learner of learn2learn that shares its parameters with a module: `MAML` or `MetaSGD` of `learn2learn.algorithms`.

    Call it with the one column that the encoder reads, or {column: tensor}; it returns the output of the head, e.g. logits.
    Your loop decides how often it adapts.

    Args:
        module: A module with one task and one of these two rules.

    Raises:
        ValueError: It has several tasks, another rule, or parameters that such a learner cannot have.
        ModuleNotFoundError: learn2learn, or a package that it imports, is not installed.
    """
    rule: Any = module.adaptation
    if len(module.tasks) != 1 or len(module.heads) != 1:
        raise ValueError(f"`module` must have one task, whose head is known, got {[of.name for of in module.tasks]}.")
    if type(rule) not in (MAML, MetaSGD) or not isinstance(rule.optimizer, SGD) or rule.optimizer.momentum:
        raise ValueError(
            f"`adaptation` must be MAML or MetaSGD without an optimizer for learn2learn, got {type(rule).__name__}. It has no learner for "
            "others; for ANIL give the head's layers to its MAML by hand."
        )
    network = Network(module)
    known = dict(network.named_parameters())
    frozen = [name for name, value in known.items() if not value.requires_grad]
    if set(rule.names) != known.keys() or (frozen and isinstance(rule, MetaSGD)):
        raise ValueError(
            f"All parameters of the network must adapt in learn2learn, got {type(rule).__name__}(adapted={rule.adapted!r}) with {len(known)} "
            f"parameters, {len(frozen)} of them frozen. Use adapted='all', and a loss without parameters."
        )
    algorithms = _learn2learn().algorithms
    if isinstance(rule, MetaSGD):
        rates = nn.ParameterList([rule.rates[_rate_key(name)] for name in known])
        return algorithms.MetaSGD(network, lrs=rates, first_order=rule.first_order)
    return algorithms.MAML(network, lr=rule.rate, first_order=rule.first_order, allow_nograd=bool(frozen))


class Network(nn.Module):
    """Encoder and head of a module's only task, as one network; they are shared, not copied.

    Args:
        module: The module.
    """

    def __init__(self, module: MetaLearningModule) -> None:
        super().__init__()
        self.encoder = module.encoder
        self.heads = nn.ModuleDict(dict(module.heads.items()))
        self._task = module.tasks[0].name
        self._column = next(iter(getattr(module.encoder, "inputs", None) or ["x"]))

    def forward(self, inputs: Any) -> Tensor:
        """Return the output of the head, e.g. logits."""
        columns = inputs if isinstance(inputs, dict) else {self._column: inputs}
        head: Any = self.heads[self._task]
        return through(head, self.encoder(columns, [self._task])[self._task])


def _adapts_itself(learner: Any) -> bool:
    """Return whether only the learner knows how it adapts; MAML and MetaSGD are exact names, because subclasses may differ."""
    if type(learner).__name__ not in ("MAML", "MetaSGD") and isinstance(learner, nn.Module):
        return callable(getattr(learner, "clone", None)) and callable(getattr(learner, "adapt", None))
    return False


def _refuse(learner: Any, engine: EngineName | None) -> None:
    like_maml = hasattr(learner, "module") and hasattr(learner, "first_order")
    if not _adapts_itself(learner) and not (like_maml and (hasattr(learner, "lrs") or hasattr(learner, "lr"))):
        raise TypeError(
            f"`learner` must be MAML or MetaSGD of learn2learn, or a torch.nn.Module with clone() and adapt(loss), got {type(learner).__name__}. "
            "Wrap the network: learn2learn.algorithms.MAML(network, lr=0.01)."
        )
    if _adapts_itself(learner) and engine not in (None, "loop"):
        raise ValueError(f"`engine` must be 'loop' for a learner that adapts itself, got {engine!r}. Leave it out.")


def _rule(learner: Any, path: str, steps: int, evaluation_steps: int | None) -> Adaptation:
    if _adapts_itself(learner):
        return Cloning(path, steps, evaluation_steps=evaluation_steps)
    options: Any = {"steps": steps, "evaluation_steps": evaluation_steps, "first_order": bool(learner.first_order)}
    options["adapted"] = f"{path}.*"
    return MetaSGD(**options) if hasattr(learner, "lrs") else MAML(float(learner.lr), **options)


def _guessed_task(network: nn.Module) -> Task:
    widths = [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ValueError(
            f"`tasks` must be given for {type(network).__name__}, which has no linear layer to derive them from, got none. Give them: "
            '[Task("y", head=Multiclass(5))].'
        )
    return Task("y", head=Multiclass(widths[-1]) if widths[-1] > 1 else Regression())


def _with_layers(task: Task, layers: nn.Module) -> Task:
    head = copy.deepcopy(task.known_head())
    if head.layers is not None:
        raise ValueError(
            f"`head` of task {task.name!r} must have no layers, because the learner's network replaces them, got {type(head.layers).__name__}. "
            "Leave `layers` out."
        )
    head.layers = layers
    complete = copy.copy(task)
    complete.head = head
    return complete


def _rate_key(name: str) -> str:
    """Return the key of a parameter's rates in `MetaSGD.rates`."""
    return name.replace(".", "/")


def _learn2learn() -> Any:
    try:
        import learn2learn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`to_learn2learn` needs learn2learn and the packages that it imports, but {error.name!r} is missing. On Python 3.11 and later "
            "a plain pip install is not enough: see README.md#learn2learn.",
            name=error.name,
        ) from error
    return learn2learn
