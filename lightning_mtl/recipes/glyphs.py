"""Classify letters of unseen scripts after one or five examples of each: MAML, ANIL, Reptile, ProtoNet, and plain multi-task learning.

The setting is that of Omniglot (Lake et al., Science 2015; Vinyals et al. 2016), with the fonts of matplotlib instead of handwriting. It
trains on letters of eight scripts, validates on two others, and tests on five others. An episode has 5 letters with 1 or 5 examples
each, and 5 more of each as the query. Plain multi-task learning ("joint") trains one head on all training letters, with the same number
of images; for a new task it keeps the encoder, and fits a new head to the examples. This often does as well (Wang et al., "Bridging
multi-task learning and meta-learning", ICML 2021). The run ends with a table of accuracies on 300 test episodes for each seed, and a
plot of accuracy by step.
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
        ways: Number of letters in an episode.
        shots: Number of examples of each letter in the support.
        queries: Number of examples of each letter in the query.
        episodes: Number of episodes in a step.
        steps_per_epoch: Number of steps between validations.
        test_episodes: Number of test episodes.
        examples: Number of images of each letter.
        summary: Whether to print a table of the episodes.
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
    """Four convolutions, and an algorithm that adapts them.

    Args:
        method: The algorithm; "joint" is trained on all letters at once.
        ways: Number of letters in an episode.
        rate: Learning rate of the inner steps of MAML, ANIL and Reptile.
        steps: Number of inner steps of MAML and ANIL in training; tests take 10.
        lr: Learning rate of Adam, over tasks.
        channels: Number of channels of each convolution.
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
        """Train on episodes, or with "joint" on all letters at once."""
        return joint(self, trainer, data) if self.method == "joint" else learned(trainer, self, data)


def joint(model: LettersModel, trainer: L.Trainer, data: Letters) -> MetaLearningModule:
    """Train the encoder to classify all training letters, with the same number of images as the other methods.

    Args:
        model: The model whose encoder is trained.
        trainer: The Trainer.
        data: The data module whose training letters are used.
    """
    source: Any = data.sources["letters"]
    images = data.episodes * data.ways * (int(data.shots) + data.queries)  # type: ignore[arg-type,operator]
    rows = {"letters": Source({"train": source.splits["train"]}, image="image")}
    together = MultiTaskDataModule(rows, batch_size=images, steps_per_epoch=data.steps_per_epoch, summary=False)
    optimizer = partial(torch.optim.Adam, lr=model.rate_over_tasks)
    module = MultiTaskModule([Task("character")], model.encoder, optimizer=optimizer)
    # There is no validation, because it can classify only the training letters; so there is no best checkpoint either.
    trainer.callbacks = [of for of in trainer.callbacks if not isinstance(of, ModelCheckpoint)]  # type: ignore[attr-defined]
    trainer.fit(module, together)
    model.inputs = module.inputs
    return model


def convolutions(channels: int) -> nn.Sequential:
    """Return four convolutions with batch norm, from [images, 1, 28, 28] to [images, 4 * channels].

    Args:
        channels: Number of channels of each convolution.
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
