"""What a command line may name."""

from __future__ import annotations

import os
from typing import Any

import pytest
from jsonargparse import Namespace

from lightning_mtl.balancers import PCGrad
from lightning_mtl.cli._options import refuse_functions

made: Any = Namespace


def of(path: str, **arguments: Any) -> Any:
    return made(class_path=path, init_args=made(**arguments))


@pytest.mark.parametrize(
    "value",
    [
        None,
        PCGrad(),
        of("lightning_mtl.balancers.CAGrad", c=0.4),
        made(class_path="lightning_mtl.balancers.PCGrad"),
        of("lightning_mtl.balancers.FromGramian", function=of("torch.nn.Softmax", dim=0)),
    ],
)
def test_networks_own_classes_are_taken(value: Any) -> None:
    refuse_functions("model.balancer", value)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (os.system, r"`--model\.balancer` .* got posix\.system"),
        ("os.system", r"`--model\.balancer` .* got os\.system"),
        (of("subprocess.Popen"), r"`--model\.balancer` .* got subprocess\.Popen"),
        (of("os.system"), r"`--model\.balancer` .* got os\.system"),
        (
            of("lightning_mtl.balancers.FromGramian", function=print),
            r"`--model\.balancer\.function` .* got builtins\.print",
        ),
        (of("lightning_mtl.balancers.FromGramian", function=of("functools.partial")), "got functools.partial"),
    ],
)
def test_what_may_do_anything_is_refused(value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        refuse_functions("model.balancer", value)
