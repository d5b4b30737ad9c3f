"""Fit sine waves to a few points: MAML and Meta-SGD learn how to do it, and joint training cannot.

The regression problem of meta-learning (Finn et al., ICML 2017, section 5.1) in the version of Meta-SGD (Li et al. 2017, section 4.1): a task
is a wave y = A sin(w x + b) with A from 0.1 to 5, w from 0.8 to 1.2 and b from 0 to pi, of which 5 or 10 points between -5 and 5 are known. A
network with two hidden layers of width 40 is adapted by one step; a step over tasks has 25 waves. The run ends with a table of the mean squared
error on 2,000 test waves, before adaptation and after 1 and 5 steps, with the results of Li et al. for one step, and a figure of fits.

By default each method is trained for 15,000 steps; `--full=true` takes the 60,000 of the paper. After 60,000 steps, the error after one step is
0.88 with 5 points and 0.55 with 10 for MAML, and 0.72 and 0.42 for Meta-SGD, each within 0.05 (`pytest -m slow tests/recipes/test_sinusoid.py`).
Joint training learns the mean of all waves, from which five steps do not help.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Regression, Task
from lightning_mtl.adaptation import MAML, Adaptation, MetaSGD
from lightning_mtl.cli import FewShotCLI, Trained
from lightning_mtl.families import Sinusoid

METHODS = {"MAML": {"method": "MAML"}, "Meta-SGD": {"method": "MetaSGD"}, "joint": {"method": "joint"}}
SETTINGS = {"5 points": {"shots": 5}, "10 points": {"shots": 10}}
PUBLISHED = {"5 points": {"MAML": "1.13 ±0.18", "Meta-SGD": "0.90 ±0.16"}}
"""Li et al. 2017, table 1, after one step."""
SHOWN = (0, 1, 5)
_DRAWN = 3
"""Number of waves in the figure."""


class Waves(EpisodeDataModule):
    """Episodes of sine waves.

    Args:
        shots: Number of known points of a wave, and of points in the query.
        frequency: Lower and upper limit of the frequency; 1 and 1 give the waves of the MAML paper.
        episodes: Number of waves in a step.
        steps_per_epoch: Number of steps between validations.
        test_episodes: Number of test waves, each with 100 points.
        summary: Whether to print a table of the episodes.
    """

    def __init__(
        self,
        shots: int = 5,
        frequency: list[float] = [0.8, 1.2],  # noqa: B006
        episodes: int = 25,
        steps_per_epoch: int = 3000,
        test_episodes: int = 2000,
        summary: bool = True,
    ) -> None:
        super().__init__(
            {"waves": Sinusoid(frequency=frequency)},
            shots=shots,
            episodes=episodes,
            steps_per_epoch=steps_per_epoch,
            validation_episodes=500,
            test_episodes=test_episodes,
            summary=summary,
        )


class WavesModel(MetaLearningModule):
    """A small network for waves, and an algorithm that adapts it.

    Args:
        method: The algorithm; "joint" is trained without adaptation.
        rate: Learning rate of the inner steps of MAML.
        steps: Number of inner steps in training.
        first_order: Whether to leave out second derivatives.
        lr: Learning rate of Adam, over tasks.
        width: Size of the two hidden layers.
        compile: Whether to compile the steps, which takes half a minute for each method, and makes them ten times as fast.
    """

    def __init__(
        self,
        method: Literal["MAML", "MetaSGD", "joint"] = "MAML",
        rate: float = 0.01,
        steps: int = 1,
        first_order: bool = False,
        lr: float = 1e-3,
        width: int = 40,
        compile: bool = False,
    ) -> None:
        adaptations: dict[str, Adaptation] = {
            "MAML": MAML(rate, steps, first_order=first_order),
            "MetaSGD": MetaSGD(steps=steps, first_order=first_order),
            "joint": MAML(0.02, steps=0),
        }
        trunk = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        super().__init__(
            [Task("y", head=Regression())],
            HardSharing(trunk, width),
            adaptation=adaptations[method],
            engine="vmap",
            compile=compile,
            optimizer=partial(torch.optim.Adam, lr=lr),
        )


def draw(trained: Trained, folder: Path) -> str:
    """Draw some test waves with their known points, and fits before and after each step; return the file name."""
    from matplotlib.figure import Figure

    setting, modules = next(iter(trained.items()))
    episodes = waves(int(SETTINGS[setting]["shots"]))
    figure = Figure(figsize=(3.6 * len(modules), 2.4 * _DRAWN), layout="constrained")
    axes = figure.subplots(_DRAWN, len(modules), sharex=True, squeeze=False)
    support, query = episodes["support"], episodes["query"]
    for column, (name, module) in enumerate(modules.items()):
        fits = module.by_step({"waves": episodes}, steps=SHOWN[-1])["y"].predictions.cpu()
        for row in range(_DRAWN):
            panel, x = axes[row][column], query["x"][row, :, 0]
            panel.plot(x, query["y"][row], color="black", linewidth=1, label="wave")
            panel.plot(support["x"][row, :, 0], support["y"][row], "k^", label="known")
            for step in SHOWN:
                panel.plot(x, fits[step, row], linestyle="--" if step else ":", label=f"{step} steps")
            panel.set_ylim(-6, 6)
        axes[0][column].set_title(f"{name}, {setting}")
    axes[0][-1].legend(fontsize="x-small")
    figure.savefig(folder / "fits.png")
    return "fits.png"


def waves(points: int) -> dict[str, dict[str, Tensor]]:
    """Return a few waves with known points; the query is the whole wave.

    Args:
        points: Number of known points.
    """
    family, generator = Sinusoid(frequency=(0.8, 1.2)), torch.Generator().manual_seed(0)
    drawn = family.draw(_DRAWN, generator)
    x = family.points(drawn, _DRAWN, points, generator)
    every = torch.linspace(-5, 5, 100).expand(_DRAWN, -1)
    return {
        "support": {"x": x.unsqueeze(-1), "y": family.value(drawn, x)},
        "query": {"x": every.unsqueeze(-1), "y": family.value(drawn, every)},
    }


def main(args: list[str] | None = None) -> Any:
    """Train all methods, and print the table."""
    torch.set_num_threads(1)  # the layers are so small that two threads would wait for each other
    trainer = {"max_epochs": 5, "enable_model_summary": False, "log_every_n_steps": 500, "accelerator": "cpu"}
    options: dict[str, Any] = {"methods": METHODS, "settings": SETTINGS, "shown": SHOWN, "published": PUBLISHED}
    return FewShotCLI(
        WavesModel,
        Waves,
        folder="runs/sinusoid",
        trainer=trainer,
        full={"max_epochs": 20},
        draw=draw,
        args=args,
        **options,
    ).run()


if __name__ == "__main__":
    main()
