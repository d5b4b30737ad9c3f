"""What a strategy must know of a step is checked before it wraps the model."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lightning_mtl import HardSharing, MetaLearningModule, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.balancers import PCGrad, Uncertainty
from lightning_mtl.modules._strategy_checks import fit_to_strategy
from tests.builders import module
from tests.conftest import TrainerMaker

MODULES: dict[str, tuple[Callable[[], Any], bool, bool]] = {
    # the module, whether each step has labels for each task, whether a static graph is refused
    "plain": (lambda: module(), True, False),
    "labels may lack": (lambda: module(), False, True),
    "a gradient balancer": (lambda: module(balancer=PCGrad()), True, True),
    "meta-learning": (
        lambda: MetaLearningModule([Task("a", head=Regression())], HardSharing(nn.Linear(1, 8), width=8)),
        True,
        True,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_static_graph_is_refused_where_steps_differ(name: str) -> None:
    make, every_task, refused = MODULES[name]
    made = make()
    made.routing.bind(["s"], {task.name: "s" for task in made.tasks}, every_task_every_step=every_task)
    strategy = DDPStrategy(static_graph=True)
    made.trainer = L.Trainer(accelerator="cpu", devices=1, strategy=strategy, logger=False, enable_checkpointing=False)
    if refused:
        with pytest.raises(ValueError, match="`static_graph` of DDPStrategy must be false"):
            fit_to_strategy(made)
    else:
        fit_to_strategy(made)


@pytest.mark.parametrize("name", ["a gradient balancer", "cut over the ranks"])
def test_fabric_is_refused_where_a_step_needs_a_trainer(name: str) -> None:
    """Where it is right, `tests/ranks` says so."""
    made = module() if name == "cut over the ranks" else MODULES[name][0]()
    strategy: Any = "auto" if name == "a gradient balancer" else ModelParallelStrategy(lambda of, mesh: of)
    made.fabric = L.Fabric(accelerator="cpu", devices=1, strategy=strategy)
    with pytest.raises(ValueError, match=r"Fabric.*Train with L.Trainer"):
        made.training_step({"s": {}}, 0)


@pytest.mark.parametrize("balancer", [None, Uncertainty(), PCGrad()], ids=lambda of: type(of).__name__)
def test_a_line_search_along_weighed_gradients_is_refused(balancer: Any, trainer: TrainerMaker) -> None:
    rows = [{"x": [float(i), 1.0, 0.0], "size": i % 3 + 0.5, "other": i % 5 - 0.5} for i in range(16)]
    tasks = [Task(name, head=Regression()) for name in ("size", "other")]
    made = MultiTaskModule(
        tasks,
        HardSharing(nn.Linear(3, 8), width=8, inputs=["x"]),
        optimizer=lambda groups: torch.optim.LBFGS(
            [p for group in groups for p in group["params"]], lr=1e-3, max_iter=2, line_search_fn="strong_wolfe"
        ),
        balancer=balancer,
    )
    data = MultiTaskDataModule({"s": {"train": rows}}, batch_size=16, summary=False)
    if isinstance(balancer, PCGrad):
        with pytest.raises(ValueError, match="`line_search_fn` of LBFGS must be None where PCGrad weighs gradients"):
            trainer(max_steps=1).fit(made, data)
    else:
        trainer(max_steps=1).fit(made, data)
