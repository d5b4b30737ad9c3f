"""Where a module keeps its tensors, so that others can take their place for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Slots:
    """Where a module keeps its parameters and buffers, tied ones in several places: looked up once.

    `torch.func.functional_call` looks for them in each call, which takes a small network as long as a layer.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        names = {id(value): name for of in (module.named_buffers(), module.named_parameters()) for name, value in of}
        self._of: dict[str, list[tuple[dict[str, Any], str]]] = {name: [] for name in names.values()}
        for part in module.modules():
            held: Any
            for held in (part._parameters, part._buffers):
                for key, value in held.items():
                    if value is not None:
                        self._of[names[id(value)]].append((held, key))

    @contextmanager
    def taken(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Let tensors take the places of those of their names.

        Args:
            tensors: By names of parameters and buffers, of tied ones by the first.
        """
        before = []
        try:
            for name, tensor in tensors.items():
                for held, key in self._of[name]:
                    before.append((held, key, held[key]))
                    held[key] = tensor
            yield
        finally:
            for held, key, value in before:
                held[key] = value
