"""Your own texts: one network for several labels of a text, against a network for each.

`--data.path reviews.csv --text review --targets sentiment,topic` reads one file, in which every row has a text and labels (cells
may be empty). With as many files as targets, `--data.path reviews.csv,headlines.csv --targets sentiment,topic`, each target is
learned from its own file, and the encoder is shared. The kind of a target (classes, yes or no, numbers) is derived from the column.
Without a file, it runs on rated texts: their domain, and how people rate them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lightning_mtl import (
    BagOfWords,
    Cells,
    FineTuning,
    HardSharing,
    HuggingFace,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Source,
    split,
)
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.files import read_rows
from lightning_mtl.recipes._per_task import refuse_unknown, tasks_of, with_rates
from lightning_mtl.recipes.data import rated_texts, with_values
from lightning_mtl.samplers import Batches, Rule, Steps

_RATES = {"words": 1e-2, "recurrent": 1e-3}  # learning rates from scratch


class Texts(MultiTaskDataModule):
    """Files of texts, each split into train, validation and test (8 : 1 : 1), equal texts together.

    Args:
        path: A CSV, TSV, JSON(L) or Parquet file, or one for each target, separated by commas. Default: the rated texts.
        text: The column of texts, or one for each file, separated by commas.
        targets: The columns to predict.
        batch_size: Number of texts of each file in a step.
        num_workers: Number of worker processes that load data.
        sampling: How often each of several files is drawn, e.g. Temperature.
        batches: What a step holds: all, homogeneous, stratified or mixed.
        steps_per_epoch: Number of steps in an epoch.
        cells: What cells of the files mean that can be read in two ways; see `Cells`.
    """

    def __init__(
        self,
        path: str | None = None,
        text: str = "text",
        targets: list[str] = ["domain", "valence"],  # noqa: B006
        batch_size: int = 64,
        num_workers: int = 0,
        sampling: Rule | None = None,
        batches: Batches | None = None,
        steps_per_epoch: Steps = None,
        cells: Cells = Cells(),  # noqa: B008
    ) -> None:
        files = [rated_texts()] if path is None else [read_rows(part, cells=cells) for part in path.split(",")]
        columns = text.split(",") * (len(files) if "," not in text else 1)
        if len(files) not in (1, len(targets)) or len(columns) != len(files):
            raise ValueError(
                f"`path` must be one file or one for each target, and `text` one column or one for each file, got {len(files)} "
                f"files, {len(columns)} columns and the targets {targets}. Separate them by commas, in the same order."
            )
        for number, (rows, column) in enumerate(zip(files, columns, strict=True)):
            refuse_unknown("text", [column], rows.column_names, "columns")
            refuse_unknown("targets", targets if len(files) == 1 else [targets[number]], rows.column_names, "columns")
        names = ["texts"] if len(files) == 1 else targets
        sources = {
            name: Source(split(with_values(rows, column), by=column), text=column, cells=cells)
            for name, rows, column in zip(names, files, columns, strict=True)
        }
        super().__init__(
            sources,
            batch_size=batch_size,
            num_workers=num_workers,
            sampling=sampling,
            batches=batches,
            steps_per_epoch=steps_per_epoch,
        )


class TextModel(MultiTaskModule):
    """An encoder of texts, shared by a head for each target.

    Args:
        targets: The columns to predict.
        tasks: The targets to train. Default: all.
        encoder: "words" (a bag of words and word pairs), "recurrent", or a Hugging Face folder or name.
        width: Size of the features of an encoder from scratch.
        dropout: Share of the features that is dropped in training.
        weights: Factor of the loss of a task, e.g. {topic: 0.5}.
        dropouts: Share of the features that the head of a task drops in training, e.g. {topic: 0.1}.
        rates: Learning rate of the head of a task, e.g. {topic: 0.01}.
        max_length: Largest number of tokens of a text that a Hugging Face encoder reads. Default: as many as it can.
        optimizer: Learning rates, warm-up and decay. The default rate 2e-5 is for a Hugging Face encoder; one from scratch then uses
            0.01 (words) or 0.001 (recurrent).
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        targets: list[str] = ["domain", "valence"],  # noqa: B006
        tasks: list[str] | None = None,
        encoder: str = "words",
        width: int = 64,
        dropout: float = 0.3,
        weights: dict[str, float] | None = None,
        dropouts: dict[str, float] | None = None,
        rates: dict[str, float] | None = None,
        max_length: int | None = None,
        optimizer: FineTuning = FineTuning(),  # noqa: B008
        **balancing: Any,
    ) -> None:
        trunk: torch.nn.Module
        if encoder == "words":
            trunk = BagOfWords(width, dropout=dropout)
        elif encoder == "recurrent":
            trunk = Recurrent(width, dropout=dropout)
        else:
            trunk = HuggingFace(encoder, max_length=max_length)
        if encoder in _RATES and optimizer.lr == FineTuning.lr:
            optimizer = replace(optimizer, lr=_RATES[encoder])
        names = tasks or targets
        made = tasks_of(names, targets, weights=weights, dropouts=dropouts)
        super().__init__(made, HardSharing(trunk), optimizer=with_rates(optimizer, names, targets, rates), **balancing)


def main(args: list[str] | None = None) -> Any:
    """Train all networks, and print the table."""
    trainer = {"max_epochs": 5, "enable_model_summary": False}
    shortcuts = {"text": ("text", ["data.text"]), "targets": ("domain,valence", ["data.targets", "model.targets"])}
    return MultiTaskCLI(TextModel, Texts, folder="runs/text", trainer=trainer, shortcuts=shortcuts, args=args).run()


if __name__ == "__main__":
    main()
