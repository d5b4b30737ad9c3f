"""Writes learn2learn.json: meta-gradients by the real learn2learn, of small problems drawn in float64.

Where it is installed (.ci/learn2learn does so): python -m tests.oracles.make_learn2learn
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILE = Path(__file__).with_name("learn2learn.json")
RATE = 0.1
CASES: dict[str, dict[str, Any]] = {
    f"{rule}, {steps} steps{', first order' if first_order else ''}": {
        "rule": rule,
        "steps": steps,
        "first_order": first_order,
    }
    for rule in ("MAML", "MetaSGD", "ANIL")
    for steps in (1, 5)
    for first_order in (False, True)
}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def problem(seed: int) -> dict[str, Any]:
    """Draw starting values, rates for MetaSGD, and two episodes."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).tolist()

    shapes = [list(value.shape) for value in network().parameters()]
    rates = [torch.tensor(numbers(*shape)).mul(0.1).tolist() for shape in shapes]
    parts = {"support": 4, "query": 3}
    episodes = {name: {"x": numbers(2, count, 2), "y": numbers(2, count)} for name, count in parts.items()}
    return {"start": [numbers(*shape) for shape in shapes], "rates": rates, "episodes": episodes}


def tensors(lists: list[Any]) -> list[Tensor]:
    return [torch.tensor(each, dtype=torch.float64) for each in lists]


def started(of: dict[str, Any]) -> nn.Sequential:
    """Make the network of a problem."""
    made = network()
    for parameter, value in zip(made.parameters(), tensors(of["start"]), strict=True):
        parameter.data = value
    return made


def learner_of(learn2learn: Any, net: nn.Sequential, case: dict[str, Any], of: dict[str, Any]) -> Any:
    """Make learn2learn's learner; of ANIL, of the last layer alone."""
    algorithms = learn2learn.algorithms
    if case["rule"] == "MetaSGD":
        rates = nn.ParameterList([nn.Parameter(rate) for rate in tensors(of["rates"])])
        return algorithms.MetaSGD(net, lrs=rates, first_order=case["first_order"])
    adapted = net[2] if case["rule"] == "ANIL" else net
    return algorithms.MAML(adapted, lr=RATE, first_order=case["first_order"])


def theirs(learn2learn: Any, case: dict[str, Any], of: dict[str, Any]) -> list[list[float]]:
    """Give learn2learn's gradients of the mean query loss, by parameter; then by rate."""
    net = started(of)
    learner = learner_of(learn2learn, net, case, of)
    loss = looped(learner, net[:2] if case["rule"] == "ANIL" else nn.Identity(), case["steps"], of)
    rates = list(learner.lrs) if case["rule"] == "MetaSGD" else []
    return [found.flatten().tolist() for found in torch.autograd.grad(loss, [*net.parameters(), *rates])]


def looped(learner: Any, features: nn.Module, steps: int, of: dict[str, Any]) -> Tensor:
    """Give the mean query loss by the loop that learn2learn's users write."""
    (x, y), (query_x, query_y) = (tensors([part["x"], part["y"]]) for part in of["episodes"].values())
    losses = []
    for number in range(len(x)):
        clone = learner.clone()
        for _ in range(steps):
            clone.adapt(F.mse_loss(clone(features(x[number])).view(-1), y[number]))
        losses.append(F.mse_loss(clone(features(query_x[number])).view(-1), query_y[number]))
    return torch.stack(losses).mean()


def main() -> None:
    from tests.learn2learn.stand_ins import standing_in

    with standing_in():
        import learn2learn
    of = problem(seed=0)
    found = {name: theirs(learn2learn, case, of) for name, case in CASES.items()}
    about = f"learn2learn {learn2learn.__version__}, torch {torch.__version__}, float64; made by make_learn2learn.py."
    FILE.write_text(json.dumps({"_about": about, "problem": of, "gradients": found}) + "\n")


if __name__ == "__main__":
    main()
