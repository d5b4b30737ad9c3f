"""Letters of scripts never seen, told apart after one or five examples of each: MAML, ANIL, Reptile, ProtoNet, and plain multi-task learning.

The setting is that of Omniglot (Lake et al., Science 2015; Vinyals et al. 2016), with the fonts that matplotlib ships in place of hands: letters
of eight scripts are trained on, of two others validated, and of five others tested. An episode has 5 letters with 1 or 5 examples each, and 5
more of each to be judged by. Plain multi-task learning tells all training letters apart with one head, in as many images; for a new
task its encoder stays, and a new head is fitted to the examples ("joint"), which often does as well (Wang et al., "Bridging multi-task
learning and meta-learning", ICML 2021). The run ends in a table of accuracies on 300 test episodes for each seed, and in a plot of
accuracy by step.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_mtl import (
    EpisodeDataModule,
    HardSharing,
    MetaLearningModule,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Task,
)
from lightning_mtl.adaptation import ANIL, MAML, Adam, Adaptation, ProtoNet, Reptile
from lightning_mtl.cli import FewShotCLI, learned
from lightning_mtl.recipes.data import glyphs

METHODS = {name: {"method": name} for name in ("MAML", "ANIL", "Reptile", "ProtoNet", "joint")}
SETTINGS = {"1 shot": {"shots": 1}, "5 shots": {"shots": 5}}
SHOWN = (0, 1, 5, 10)


class Letters(EpisodeDataModule):
    """Episodes of letters.

    Args:
        ways: Letters of an episode.
        shots: Examples of each that are learned from.
        queries: Examples of each that are judged by.
        episodes: Episodes of a step.
        steps_per_epoch: Steps from one validation to the next.
        test_episodes: Episodes to test by.
        examples: Images of each letter.
        summary: Whether to print what there is to draw from.
    """

    def __init__(
        self,
        ways: int = 5,
        shots: int = 1,
        queries: int = 5,
        episodes: int = 4,
        steps_per_epoch: int = 100,
        test_episodes: int = 300,
        examples: int = 20,
        summary: bool = True,
    ) -> None:
        super().__init__(
            {"letters": Source(glyphs(examples), image="image")},
            ways=ways,
            shots=shots,
            queries=queries,
            episodes=episodes,
            steps_per_epoch=steps_per_epoch,
            validation_episodes=100,
            test_episodes=test_episodes,
            summary=summary,
        )


class LettersModel(MetaLearningModule):
    """Four convolutions, and a way to adapt them.

    Args:
        method: How they are adapted; "joint" is trained on all letters at once.
        ways: Letters of an episode.
        rate: Rate of an inner step of MAML, ANIL and Reptile.
        steps: Inner steps of MAML and ANIL while they are trained; in tests they take 10.
        lr: Rate of Adam, over tasks.
        channels: Of each convolution.
    """

    def __init__(
        self,
        method: Literal["MAML", "ANIL", "Reptile", "ProtoNet", "joint"] = "MAML",
        ways: int = 5,
        rate: float = 0.1,
        steps: int = 3,
        lr: float = 2e-3,
        channels: int = 16,
    ) -> None:
        adaptations: dict[str, Adaptation] = {
            "MAML": MAML(rate, steps),
            "ANIL": ANIL(rate, steps),
            "Reptile": Reptile(rate, steps=5, minibatch=10),
            "ProtoNet": ProtoNet(),
            "joint": ANIL(rate=0.05, steps=10, optimizer=Adam()),
        }
        self.method = method
        self.rate_over_tasks = lr
        super().__init__(
            [Task("character", head=Multiclass(ways))],
            HardSharing(convolutions(channels), channels * 4),
            adaptation=adaptations[method],
            norm="running" if method == "joint" else "episode",
            optimizer=partial(torch.optim.Adam, lr=lr),
        )

    def learn(self, trainer: L.Trainer, data: Letters) -> MetaLearningModule:
        """Train on episodes, or on all letters at once."""
        return joint(self, trainer, data) if self.method == "joint" else learned(trainer, self, data)


def joint(model: LettersModel, trainer: L.Trainer, data: Letters) -> MetaLearningModule:
    """Train the encoder to tell all training letters apart, with as many images as the others see.

    Args:
        model: Whose encoder is trained.
        trainer: The Trainer.
        data: Whose training letters are used.
    """
    source: Any = data.sources["letters"]
    images = data.episodes * data.ways * (int(data.shots) + data.queries)  # type: ignore[arg-type,operator]
    rows = {"letters": Source({"train": source.splits["train"]}, image="image")}
    together = MultiTaskDataModule(rows, batch_size=images, steps_per_epoch=data.steps_per_epoch, summary=False)
    optimizer = partial(torch.optim.Adam, lr=model.rate_over_tasks)
    module = MultiTaskModule([Task("character")], model.encoder, optimizer=optimizer)
    # Its letters are those it is trained on, so there is nothing to validate, and no best checkpoint to watch for.
    trainer.callbacks = [of for of in trainer.callbacks if not isinstance(of, ModelCheckpoint)]  # type: ignore[attr-defined]
    trainer.fit(module, together)
    model.inputs = module.inputs
    return model


def convolutions(channels: int) -> nn.Sequential:
    """Make four convolutions with batch norm, from [images, 1, 28, 28] to [images, 4 * channels].

    Args:
        channels: Of each convolution.
    """
    layers: list[nn.Module] = []
    for before in (1, channels, channels, channels):
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def main(args: list[str] | None = None) -> Any:
    """Train all methods, and print the table."""
    trainer = {"max_epochs": 3, "enable_model_summary": False, "log_every_n_steps": 50}
    options: dict[str, Any] = {"methods": METHODS, "settings": SETTINGS, "shown": SHOWN, "trainer": trainer}
    return FewShotCLI(LettersModel, Letters, folder="runs/glyphs", args=args, **options).run()


if __name__ == "__main__":
    main()
