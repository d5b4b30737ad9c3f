"""The habits of fine-tuning: which rate and decay each parameter gets, and how the rates rise and fall."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

_STACKS = ("layer", "layers", "block", "blocks", "h")
"""What libraries call the list of a network's blocks."""
_FUSED = ("cpu", "cuda", "mps")
_BALANCER_RATE = 1e-3
"""Few numbers of size one, which the rates of pretrained weights would never move."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tune a pretrained trunk: AdamW, a warm-up, a rate that falls to the end of the run, smaller rates for low layers.

    It takes the place of an optimizer, `MultiTaskModule(..., optimizer=FineTuning(lr=2e-5))`, where the Trainer knows the end
    of the run. The trunk is everything that is no head. Biases, norms and other parameters of one dimension do not decay
    (Devlin et al., "BERT", NAACL 2019, and its code).

    Args:
        lr: Rate of the trunk at its highest.
        head_lr: Rate of the heads. Default: that of the trunk.
        weight_decay: Share of a weight that is taken off, times the rate, in each step (Loshchilov and Hutter, "Decoupled
            weight decay regularization", ICLR 2019).
        warmup: Steps in which rates rise from 0: below 1 a share of the steps that a part is trained in, else a number.
        decay: How rates fall after that: to 0 in a line or half a cosine, or not at all.
        layer_decay: What the rate is multiplied by for each layer below the top one; embeddings, and what else is registered
            before the layers, are one below the first (Howard and Ruder, "Universal language model fine-tuning for text
            classification", ACL 2018; as in Clark et al., "ELECTRA", ICLR 2020). Layers are the longest `nn.ModuleList` of
            the trunk, one called layer, layers, block, blocks or h before others; a trunk without one is a single layer.
        freeze_steps: Steps in which the trunk's rate is 0, so that new heads settle first; then its own warm-up begins.
            Gradients are computed all along, so that nothing changes for DDP; a step costs what it always costs.
        rates: {task: rate of its head}, instead of `head_lr`.

    Raises:
        ValueError: A number out of its range.

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

    def __post_init__(self) -> None:
        positive = {"lr": self.lr, "head_lr": self.lr if self.head_lr is None else self.head_lr}
        positive |= {f"rates[{task!r}]": rate for task, rate in (self.rates or {}).items()}
        for name, rate in positive.items():
            _require(0 < rate < math.inf, name, "positive", rate, "Rates of fine-tuning are about 1e-5 to 1e-3.")
        _require(self.weight_decay >= 0, "weight_decay", "at least 0", self.weight_decay, "0 turns it off.")
        whole = 0 <= self.warmup < 1 or (1 <= self.warmup < math.inf and float(self.warmup).is_integer())
        _require(
            whole, "warmup", "a share from 0 to below 1, or a whole number of steps", self.warmup, "0 turns it off."
        )
        decays = ("linear", "cosine", "constant")
        _require(self.decay in decays, "decay", f"one of {list(decays)}", self.decay, "Choose one of these.")
        _require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and at most 1", self.layer_decay, "1 turns it off.")
        _require(self.freeze_steps >= 0, "freeze_steps", "at least 0", self.freeze_steps, "0 turns it off.")

    def __call__(self, groups: Iterable[Any]) -> Optimizer:
        """Make the optimizer over groups of another's making, without the schedule, for which a run must have an end."""
        return AdamW(groups, lr=self.lr, weight_decay=self.weight_decay)

    def configure(
        self,
        module: nn.Module,
        heads: nn.ModuleDict,
        steps: int,
        *,
        fused: bool = True,
        balancer: nn.Module | None = None,
    ) -> dict[str, Any]:
        """Make the optimizer and the schedule of a run.

        Groups are called "trunk" and "heads", with "/no_decay" for what does not decay; with `layer_decay`,
        "trunk/embeddings" and "trunk/layer_1" to the top; "heads/<task>" for a task in `rates`; "balancer" for what a
        balancer learns, at a rate of 0.001, without decay.

        Args:
            module: What is trained; whether it holds heads and balancer too is all the same.
            heads: {task: head}.
            steps: Steps of the run.
            fused: Whether AdamW may update all weights in one kernel, where the device has one.
            balancer: The module's balancer, if it has one.

        Returns:
            What Lightning reads: {"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}.

        Raises:
            ValueError: `rates` names a task that has no head.
        """
        self._check_rates(list(heads))
        learned = [] if balancer is None else [p for p in balancer.parameters() if p.requires_grad]
        groups = self._groups(module, heads, {id(p) for p in learned})
        if learned:
            groups.append({"params": learned, "name": "balancer", "lr": _BALANCER_RATE, "weight_decay": 0.0})
        in_trunk = [group["name"].startswith("trunk") for group in groups]
        if any(in_trunk) and self.freeze_steps >= steps:
            warnings.warn(
                f"`freeze_steps` should be below the {steps} steps of the run, got {self.freeze_steps}: the trunk never moves.",
                stacklevel=2,
            )
        one_kernel = fused and all(
            p.device.type in _FUSED and p.is_floating_point() for group in groups for p in group["params"]
        )
        optimizer = AdamW(groups, lr=self.lr, fused=one_kernel or None)  # None: torch's choice; False: one by one
        shapes = [self._shape(self.freeze_steps if trunk else 0, steps) for trunk in in_trunk]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, shapes), "interval": "step"},
        }

    def _check_rates(self, tasks: Sequence[str]) -> None:
        for name in self.rates or {}:
            if name not in tasks:
                close = get_close_matches(name, tasks, 1)
                hint = f"Did you mean {close[0]!r}?" if close else "Name one of these."
                raise ValueError(f"`rates` must name tasks, got {name!r}; tasks are {tasks}. {hint}")

    def _groups(self, module: nn.Module, heads: nn.ModuleDict, apart: set[int]) -> list[dict[str, Any]]:
        task_of = {id(p): task for task, head in heads.items() for p in head.parameters()}
        depths = _depths(module, set(task_of))
        top = max(depths.values(), default=0)
        plain = _without_decay(module) | _without_decay(heads)
        groups: dict[str, dict[str, Any]] = {}
        for p in dict.fromkeys([*module.parameters(), *heads.parameters()]):
            if not p.requires_grad or id(p) in apart:
                continue
            task = task_of.get(id(p))
            name, rate = self._trunk_rate(depths[id(p)], top) if task is None else self._head_rate(task)
            decay = 0.0 if id(p) in plain else self.weight_decay
            name += "/no_decay" * (id(p) in plain)
            groups.setdefault(name, {"params": [], "name": name, "lr": rate, "weight_decay": decay})["params"].append(p)
        return list(groups.values())

    def _head_rate(self, task: str) -> tuple[str, float]:
        if self.rates and task in self.rates:
            return f"heads/{task}", self.rates[task]
        return "heads", self.lr if self.head_lr is None else self.head_lr

    def _trunk_rate(self, depth: int, top: int) -> tuple[str, float]:
        if self.layer_decay == 1 or top == 0:
            return "trunk", self.lr
        return f"trunk/layer_{depth}" if depth else "trunk/embeddings", self.lr * self.layer_decay ** (top - depth)

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


def _require(true: bool, name: str, rule: str, value: Any, remedy: str) -> None:
    if not true:
        raise ValueError(f"`{name}` must be {rule}, got {value!r}. {remedy}")


def _depths(module: nn.Module, of_heads: set[int]) -> dict[int, int]:
    """Number the layer of each parameter, by its id: 0 before the blocks, 1 in the first one, the top one's after them."""
    blocks = _blocks(module, of_heads)
    depths = {id(p): depth for depth, block in enumerate(blocks, 1) for p in block.parameters()}
    inside = set(depths)
    reached = 0
    for p in module.parameters():
        if id(p) in inside:
            reached = len(blocks)
        else:
            depths[id(p)] = reached
    return depths


def _blocks(module: nn.Module, of_heads: set[int]) -> Sequence[nn.Module]:
    """Find the list of a network's blocks: the longest one that is in no other, with a usual name before others."""
    for usual in (True, False):
        found: dict[str, nn.ModuleList] = {}
        for name, part in module.named_modules():
            inner = any(name.startswith(f"{outer}.") for outer in found)
            if isinstance(part, nn.ModuleList) and not inner and (name.rpartition(".")[2] in _STACKS) is usual:
                weights = [{id(p) for p in block.parameters()} for block in part]
                if all(weights) and of_heads.isdisjoint(chain.from_iterable(weights)):
                    found[name] = part
        if found:
            return list(found[max(found, key=lambda name: len(found[name]))])
    return []


def _without_decay(module: nn.Module) -> set[int]:
    """Find biases, norms and other parameters of at most one dimension, by their id."""
    return {
        id(p)
        for part in module.modules()
        for name, p in part.named_parameters(recurse=False)
        # Of norms, these two alone can have weights of more dimensions.
        if p.ndim <= 1 or name.endswith("bias") or isinstance(part, nn.LayerNorm | nn.RMSNorm)
    }
