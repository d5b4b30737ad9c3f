"""Heads that no longer move, and their best weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .._distributed import full_state, load_full_state
from .._plain import without_masks
from ..task import MultiTask


class FrozenHeads:
    """Freezes heads during training, and keeps the weights of each as they were best.

    What a head shares with the encoder is neither frozen nor kept.
    """

    def __init__(self) -> None:
        self.best: dict[str, dict[str, Tensor]] = {}
        """The weights to which heads go back, by task, on the CPU: the best ones, or those with which they were frozen."""
        self._shared: dict[str, set[str]] = {}
        self._norms: list[nn.Module] = []
        self._switched: list[nn.Module] = []
        """Norms that were switched to evaluation mode here."""

    def find_shared(self, heads: nn.ModuleDict, encoder: nn.Module) -> None:
        """Find the parameters that heads share with the encoder."""
        shared = {id(p) for p in encoder.parameters()}
        for task, head in heads.items():
            named = head.named_parameters(remove_duplicate=False)
            self._shared[task] = {name for name, p in named if id(p) in shared}

    def keep_best(self, task: str, head: nn.Module) -> None:
        """Keep the weights that a head has now; all ranks must call it together."""
        state = without_masks(full_state(head))
        self.best[task] = {name: value for name, value in state.items() if name not in self._shared[task]}

    def restore_best(self, tasks: Iterable[str], models: Iterable[MultiTask]) -> None:
        """Give heads back the weights that were kept of them, if there are some, in a module and in averaged copies of it."""
        for model in models:
            for task in self.best.keys() & tasks:
                held = model.heads[task].state_dict()
                pruned = {name: f"{name}_orig" for name in self.best[task] if f"{name}_orig" in held}
                load_full_state(model.heads[task], {pruned.get(name, name): of for name, of in self.best[task].items()})

    def freeze(self, heads: Mapping[str, nn.Module]) -> None:
        """Set which heads are frozen from now on."""
        self._norms = [part for head in heads.values() for part in head.modules() if isinstance(part, _NormBase)]

    def stop_norms(self) -> None:
        """Stop the running averages of frozen heads, for which gradients do not matter."""
        if moving := [norm for norm in self._norms if norm.training]:
            self._switched += [norm.eval() for norm in moving]

    def release_norms(self) -> None:
        """Let all running averages move again."""
        for norm in self._switched:
            norm.train()
        self._norms, self._switched = [], []

    def clear_gradients(self, heads: Mapping[str, nn.Module]) -> None:
        """Remove the gradients of these heads: an optimizer leaves alone what has none, by momentum and decay too."""
        for task, head in heads.items():
            for name, parameter in head.named_parameters():
                if name not in self._shared[task]:
                    parameter.grad = None
