"""Prototypical networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._base import Adaptation, Inner
from ._problem import Parameters


class ProtoNet(Adaptation):
    """Represent each class by the mean of its support's features (Snell et al., "Prototypical networks", NeurIPS 2017, equations 1 and 2).

    An example is assigned to the class whose mean c is nearest. The logits are -|x - c|^2, which equals 2 c x - |c|^2 (their equation
    8) plus a number that all classes share. This is a linear layer, so the head is adapted: its weights become 2 c, its bias -|c|^2.
    There is no inner gradient step; training makes the encoder separate the classes.

    It works with `Multiclass` and `Binary` heads that have one linear layer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lightning_mtl import HardSharing, MetaLearningModule, Multiclass, Task
        >>> tasks = [Task("side", head=Multiclass(2))]
        >>> module = MetaLearningModule(tasks, HardSharing(nn.Identity(), width=1), adaptation=ProtoNet())
        >>> labels = torch.tensor([[0, 0, 1, 1]])
        >>> support = {"x": torch.tensor([[[-2.0], [-1.0], [1.0], [3.0]]]), "side": labels}
        >>> query = {"x": torch.tensor([[[-3.0], [-0.5], [0.5], [5.0]]]), "side": labels}
        >>> module.by_step({"numbers": {"support": support, "query": query}})["side"].predictions[-1].argmax(-1)
        tensor([[0, 0, 1, 1]])
    """

    steps = 1

    def refuse(self, task: str, head: nn.Module) -> None:
        """Check that the head is one linear layer over classes.

        Raises:
            ValueError: It is not.
        """
        layers: Any = getattr(head, "layers", None)
        kind = getattr(head, "kind", None)
        if kind not in ("multiclass", "binary") or not isinstance(layers, nn.Linear) or layers.bias is None:
            raise ValueError(
                f"`head` of task {task!r} must be Multiclass or Binary with one linear layer for ProtoNet, got {type(head).__name__} with "
                f"{type(layers).__name__}. Use another adaptation, e.g. MAML() or ANIL()."
            )

    def refuse_support(self, task: str, head: nn.Module, target: Tensor) -> None:
        """Check that each class has an example.

        Raises:
            ValueError: A class has none.
        """
        outputs: Any = head.outputs
        present = (target.unsqueeze(-1) == torch.arange(max(outputs, 2), device=target.device)).any(-2)
        if not present.all():
            missing = int((~present).nonzero()[0, -1])
            raise ValueError(
                f"The support of task {task!r} must have an example of each class for ProtoNet, whose classes are means of examples, got none of class "
                f"{missing}. Add one; or use another adaptation, e.g. ANIL()."
            )

    def count(self, training: bool, asked: int | None = None) -> int:
        """Return 1: the means are computed in one step."""
        return 1

    def replaces(self, name: str) -> bool:
        """Return whether a parameter is computed anew for each task: those of the head are."""
        return name.startswith("heads.")

    def step(
        self, parameters: Parameters, memory: Any, number: int, learned: Parameters, inner: Inner
    ) -> tuple[Parameters, Any]:
        """Compute the head's weights from the means of the classes."""
        found = [name for end in _LAYER for name in parameters if name.startswith("heads.") and name.endswith(end)]
        if len(found) != 2:
            raise ValueError(
                "The head must not be frozen for ProtoNet, which computes its weights from the examples. Unfreeze it."
            )
        weight, bias = found
        features, target = inner.features(parameters)
        outputs = parameters[weight].shape[0]
        means = self._means(features, target, max(outputs, 2))
        weights, biases = 2 * means, -means.square().sum(-1)
        if outputs == 1:  # the logit of "yes" against "no"
            weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
        return {
            **parameters,
            weight: weights.to(parameters[weight].dtype),
            bias: biases.to(parameters[bias].dtype),
        }, None

    def _means(self, features: Tensor, target: Tensor, classes: int) -> Tensor:
        numbers = torch.arange(classes, device=target.device)
        members = (target.unsqueeze(-1) == numbers).to(features.dtype)  # [rows, classes]
        return members.mT @ features / members.sum(0).unsqueeze(-1)


_LAYER = ("layers.weight", "layers.bias")
