"""Compiled parts of a module."""

from __future__ import annotations

import torch
import torch._functorch.config as functorch
from torch import nn


def is_compiled(part: nn.Module) -> bool:
    """Return whether a part was compiled by `torch.compile`."""
    return isinstance(part, torch._dynamo.OptimizedModule) or part._compiled_call_impl is not None


class KeptBuffers:
    """Lets compiled graphs run their backward pass more than once, by a global setting of torch."""

    def __init__(self) -> None:
        self._before: bool | None = None

    def keep(self) -> None:
        """Change the setting."""
        if self._before is None:
            self._before, functorch.donated_buffer = functorch.donated_buffer, False

    def restore(self) -> None:
        """Change it back."""
        if self._before is not None:
            functorch.donated_buffer, self._before = self._before, None
