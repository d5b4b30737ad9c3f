"""What is compiled gives what is not; in a process of its own, since the annotations of this one cannot be compiled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import ROOT

PROGRAM = """
import torch
from torch import nn
from lightning_mtl import HardSharing, MetaLearningModule, Multiclass, Task
from lightning_mtl.adaptation import MAML, MetaSGD

def gradients(compiled, rule):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh())
    module = MetaLearningModule([Task("kind", head=Multiclass(3))], HardSharing(trunk, 8), adaptation=rule, engine="vmap", compile=compiled)
    part = {name: {"x": torch.randn(5, 6, 4), "kind": torch.randint(3, (5, 6))} for name in ("support", "query")}
    module.double().train()
    part = {name: {"x": of["x"].double(), "kind": of["kind"]} for name, of in part.items()}
    module.run({"rows": part}).losses[0].backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()])

for rule in (lambda: MAML(0.1, steps=2), lambda: MAML(0.1, first_order=True), lambda: MetaSGD(0.1)):
    a, b = gradients(False, rule()), gradients(True, rule())
    print((a - b).abs().max().item() / a.abs().max().item())
"""


@pytest.mark.slow
def test_compiled_gradients_are_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, env={**os.environ}, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    apart = [float(line) for line in done.stdout.splitlines()]
    assert len(apart) == 3
    assert max(apart) < 1e-10
