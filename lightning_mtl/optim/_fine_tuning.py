"""Fine-tuning: the learning rate and weight decay of each parameter, and the schedule of the rates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from .._checks import did_you_mean, require, require_number, require_numbers
from .._plain import escaped
from ._layers import Levels, Place, places, without_decay

_FUSED = ("cpu", "cuda", "mps")
_RULE_RATE = 1e-3
"""Learned rules have few parameters, of order one, for which the rates of pretrained weights are too small."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tune a pretrained trunk: AdamW, a warm-up, a rate that falls to the end of the run, smaller rates for low layers.

    It takes the place of an optimizer, `MultiTaskModule(..., optimizer=FineTuning(lr=2e-5))`, where the Trainer knows the end
    of the run. The trunk is everything that is no head. Biases, norms and other parameters of one dimension do not decay
    (Devlin et al., "BERT", NAACL 2019, and its code).

    Args:
        lr: Highest learning rate of the trunk.
        head_lr: Rate of the heads. Default: that of the trunk.
        weight_decay: Share of a weight that is subtracted, times the rate, in each step (Loshchilov and Hutter, "Decoupled
            weight decay regularization", ICLR 2019). `Task(weight_decay=)` is that of a task's head.
        warmup: Steps in which rates rise from 0: below 1 a share of the steps that a part is trained in, else a number.
        decay: How rates fall after that: to 0 in a line or half a cosine, or not at all.
        layer_decay: What the rate is multiplied by for each layer below the top one; embeddings, and what else is registered
            before the layers, are one below the first (Howard and Ruder, "Universal language model fine-tuning for text
            classification", ACL 2018; as in Clark et al., "ELECTRA", ICLR 2020). Layers are the longest `nn.ModuleList` of
            the trunk, one called layer, layers, block, blocks or h before others; a trunk without one is a single layer. In a
            `LevelledEncoder` they are those of its levels, counted through.
        freeze_steps: Steps in which the trunk's rate is 0, so that new heads are trained first; then its own warm-up begins.
            Gradients are computed all the same, so that nothing changes for DDP; a step costs as much as any other.
        rates: {task: rate of its head}, instead of `head_lr`.
        level_rates: {level: rate of all its layers}, instead of what `lr` and `layer_decay` give, where the encoder has levels: by
            number, negative from the top, or name; 0 is the part below all levels, such as embeddings.
        level_starts: {level: step from which it is trained}, instead of `freeze_steps`: its own warm-up begins then. Levels that start
            from the top down are unfrozen gradually (Howard and Ruder 2018, section 3.3).

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> trunk, heads = nn.Linear(4, 8), nn.ModuleDict({"sick": nn.Linear(8, 1)})
        >>> made = FineTuning(lr=1e-4, head_lr=1e-3, warmup=2).configure(trunk, heads, steps=6)
        >>> [(group["name"], group["initial_lr"], group["weight_decay"]) for group in made["optimizer"].param_groups]
        [('trunk', 0.0001, 0.01), ('trunk/no_decay', 0.0001, 0.0), ('heads', 0.001, 0.01), ('heads/no_decay', 0.001, 0.0)]
        >>> [made["lr_scheduler"]["scheduler"].lr_lambdas[0](step) for step in range(7)]
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    lr: float = 2e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    warmup: float | int = 0.1
    decay: Literal["linear", "cosine", "constant"] = "linear"
    layer_decay: float = 1.0
    freeze_steps: int = 0
    rates: dict[str, float] | None = None
    level_rates: dict[int | str, float] | None = None
    level_starts: dict[int | str, int] | None = None

    def __post_init__(self) -> None:
        usual = "Rates of fine-tuning are about 1e-5 to 1e-3."
        require_number("lr", self.lr, usual, above=0)
        require_number("head_lr", self.head_lr, usual, above=0, optional=True)
        require_numbers("rates", self.rates, usual, named=True, above=0, optional=True)
        require_numbers("level_rates", self.level_rates, usual, named=True, above=0, optional=True)
        require_number("weight_decay", self.weight_decay, "0 turns it off.", at_least=0)
        require_number("warmup", self.warmup, "0 turns it off.", finite=False)
        whole = 0 <= self.warmup < 1 or (1 <= self.warmup < math.inf and float(self.warmup).is_integer())
        require(
            whole, "warmup", "a share from 0 to below 1, or a whole number of steps", self.warmup, "0 turns it off."
        )
        decays = ("linear", "cosine", "constant")
        require(self.decay in decays, "decay", f"one of {list(decays)}", self.decay, "Choose one of these.")
        require_number("layer_decay", self.layer_decay, "1 turns it off.", above=0, at_most=1)
        require_number("freeze_steps", self.freeze_steps, "0 turns it off.", at_least=0, whole=True)
        remedy = "0 trains it from the start."
        require_numbers("level_starts", self.level_starts, remedy, named=True, at_least=0, whole=True, optional=True)

    def __call__(self, groups: Iterable[Any]) -> Optimizer:
        """Make the optimizer for given parameter groups, without the schedule, which needs the number of steps."""
        return AdamW(groups, lr=self.lr, weight_decay=self.weight_decay)

    def configure(
        self,
        module: nn.Module,
        heads: nn.ModuleDict,
        steps: int,
        *,
        fused: bool = True,
        rules: Mapping[str, nn.Module] | None = None,
        levels: Levels = (),
        stages: Sequence[str] = (),
        decays: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """Make the optimizer and the schedule of a run.

        Groups are called "trunk" and "heads", with "/no_decay" for what does not decay; with `layer_decay`,
        "trunk/embeddings" and "trunk/layer_1" to the top; "trunk/level_<number>" for a level that is named, 0 being
        "trunk/embeddings"; "heads/<task>" for a task in `rates` or `decays`; "balancer" and "adaptation" for their parameters, at a rate of 0.001,
        without decay.

        Args:
            module: The model, with or without heads and balancer.
            heads: {task: head}.
            steps: Steps of the run.
            fused: Whether AdamW may update all weights in one kernel, where the device has one.
            rules: Other modules with learned parameters, by the names of their groups: balancer, adaptation.
            levels: Where the encoder has levels, the module and all parameters of each, level 0 first.
            stages: Names of the levels, if they have any.
            decays: {task: decay of its head}, instead of `weight_decay`.

        Returns:
            What Lightning reads: {"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}.

        Raises:
            ValueError: `rates` names a task without a head, or `level_rates` or `level_starts` a level that does not exist.
        """
        self._check_rates(list(heads))
        chosen = [
            _numbered(name, getattr(self, name), max(len(levels) - 1, 0), stages)
            for name in ("level_rates", "level_starts")
        ]
        learned = {name: [p for p in rule.parameters() if p.requires_grad] for name, rule in (rules or {}).items()}
        apart = {id(p) for params in learned.values() for p in params}
        groups = self._groups(module, heads, apart, places(module, _ids(heads), levels), decays or {}, *chosen)
        groups += [
            {"params": params, "name": name, "lr": _RULE_RATE, "weight_decay": 0.0, "start": 0}
            for name, params in learned.items()
            if params
        ]
        starts = [group.pop("start") for group in groups]
        self._warn_of_late_groups(groups, starts, steps)
        one_kernel = fused and all(
            p.device.type in _FUSED and p.is_floating_point() for group in groups for p in group["params"]
        )
        optimizer = AdamW(groups, lr=self.lr, fused=one_kernel or None)  # None: torch's choice; False: one by one
        shapes = [self._shape(start, steps) for start in starts]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, shapes), "interval": "step"},
        }

    def _check_rates(self, tasks: Sequence[str]) -> None:
        for name in self.rates or {}:
            if name not in tasks:
                hint = did_you_mean(name, tasks)
                raise ValueError(f"`rates` must name tasks, got {name!r}; tasks are {tasks}. {hint}")

    def _warn_of_late_groups(self, groups: Sequence[Mapping[str, Any]], starts: Sequence[int], steps: int) -> None:
        late = [group["name"] for group, start in zip(groups, starts, strict=True) if start >= steps]
        if late and self.freeze_steps >= steps:
            warnings.warn(
                f"`freeze_steps` should be below the {steps} steps of the run, got {self.freeze_steps}: the trunk never moves.",
                stacklevel=3,
            )
        elif late:
            warnings.warn(
                f"`level_starts` should be below the {steps} steps of the run, got {self.level_starts}: {late} never move.",
                stacklevel=3,
            )

    def _groups(
        self,
        module: nn.Module,
        heads: nn.ModuleDict,
        apart: set[int],
        where: Mapping[int, Place],
        decays: Mapping[str, float],
        rates: Mapping[int, float],
        starts: Mapping[int, int],
    ) -> list[dict[str, Any]]:
        task_of = {id(p): task for task, head in heads.items() for p in head.parameters()}
        top = max((place.depth for key, place in where.items() if key not in task_of), default=0)
        plain = without_decay(module) | without_decay(heads)
        groups: dict[str, dict[str, Any]] = {}
        for p in dict.fromkeys([*module.parameters(), *heads.parameters()]):
            if not p.requires_grad or id(p) in apart:
                continue
            task = task_of.get(id(p))
            start = 0 if task else starts.get(where[id(p)].level, self.freeze_steps)
            name, rate = self._head_rate(task, decays) if task else self._trunk_rate(where[id(p)], top, rates, starts)
            decay = 0.0 if id(p) in plain else decays.get(task or "", self.weight_decay)
            name += "/no_decay" * (id(p) in plain)
            group = {"params": [], "name": name, "lr": rate, "weight_decay": decay, "start": start}
            groups.setdefault(name, group)["params"].append(p)
        return list(groups.values())

    def _head_rate(self, task: str, decays: Mapping[str, float]) -> tuple[str, float]:
        own, usual = self.rates or {}, self.lr if self.head_lr is None else self.head_lr
        apart = task in own or task in decays
        return f"heads/{escaped(task)}" if apart else "heads", own.get(task, usual)

    def _trunk_rate(
        self, at: Place, top: int, rates: Mapping[int, float], starts: Mapping[int, int]
    ) -> tuple[str, float]:
        flat = self.layer_decay == 1 or top == 0
        if at.level in rates or (at.level in starts and flat):
            return f"trunk/level_{at.level}" if at.level else "trunk/embeddings", rates.get(at.level, self.lr)
        if flat:
            return "trunk", self.lr
        name = f"trunk/layer_{at.depth}" if at.depth else "trunk/embeddings"
        return name, self.lr * self.layer_decay ** (top - at.depth)

    def _shape(self, start: int, steps: int) -> Callable[[int], float]:
        """Make the function from a step to its share of the rate, for parameters that are trained from `start` on."""
        left = max(1, steps - start)
        # A share counts as in Hugging Face's Trainer, rounded up, but not for 7.000000000000001.
        warmup = math.ceil(self.warmup * left - 1e-9) if self.warmup < 1 else int(self.warmup)

        def share(step: int) -> float:
            since = step - start
            if since < 0:
                return 0.0
            if since < warmup:
                return since / warmup
            return self._fall(min(1.0, (since - warmup) / max(1, left - warmup)))

        return share

    def _fall(self, progress: float) -> float:
        match self.decay:
            case "linear":
                return 1 - progress
            case "cosine":
                return (1 + math.cos(math.pi * progress)) / 2
            case "constant":
                return 1.0


def _ids(module: nn.Module) -> set[int]:
    return {id(p) for p in module.parameters()}


def _numbered(name: str, given: Mapping[int | str, Any] | None, top: int, stages: Sequence[str]) -> dict[int, Any]:
    """Return values for levels, which are given by number or name, by the numbers of the levels."""
    if given and not top:
        raise ValueError(
            f"`{name}` must be left out where the encoder has no levels, got {given}. Use a `LevelledEncoder`."
        )
    known: dict[int | str, int] = {number: number % (top + 1) for number in range(-top, top + 1)}
    known |= {str(number): at for number, at in known.items()}  # JSON has no other keys
    known |= {stage: number for number, stage in enumerate(stages, 1)}
    found: dict[int, Any] = {}
    for level, value in (given or {}).items():
        if level not in known:
            named = f", or one of the names {list(stages)}" if stages else ""
            hint = did_you_mean(str(level), stages, "0 is the part below all levels.")
            raise ValueError(
                f"`{name}` must name levels by a number from {-top} to {top}{named}, got {level!r}. {hint}"
            )
        if known[level] in found:
            raise ValueError(f"`{name}` must name a level once, got {list(given or {})}. Drop {level!r}.")
        found[known[level]] = value
    return found
