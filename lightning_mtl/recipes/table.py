"""Your own table: one network for several of its columns, against a network for each.

`--data.path my.csv --targets a,b` learns to predict the columns a and b from all others. The kind of a target (classes, yes or no,
numbers) is derived from the column; its cells may be empty. Rows are split at random, or with the rows of each patient together
(`--data.by=patient`), or by time (`--data.time=date`). Without a file, it runs on tumours under the microscope: their diagnosis, and
the size and texture of their largest nuclei. `--data.name=star --targets readk,mathk,read1,math1,read2,math2,read3,math3` takes
11,598 school children and their marks over four years, about half of which are missing.
"""

from __future__ import annotations

from typing import Any, Literal

from lightning_mtl import (
    Cells,
    FineTuning,
    HardSharing,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Tabular,
    split,
)
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.files import read_rows
from lightning_mtl.recipes._per_task import refuse_unknown, tasks_of, with_rates
from lightning_mtl.recipes.data import feature_columns, star, tumours


class Rows(MultiTaskDataModule):
    """A table, split into train, validation and test (7 : 1.5 : 1.5).

    Args:
        path: A CSV, TSV, JSON(L) or Parquet file, whose cells are read as what they surely are. Default: the data of `name`.
        name: Example data, if there is no file.
        targets: The columns to predict.
        features: The columns to predict from. Default: all that can be features; the others are listed.
        drop: Columns to leave out of these.
        by: A column whose equal values stay in one split, e.g. the patient.
        time: A column of dates or numbers; the latest rows are the test split.
        cells: What cells mean that can be read in two ways, e.g. `--data.cells.types='{"zip": "text"}'`; see `Cells`.
        batch_size: Number of rows in a step.
        num_workers: Number of worker processes that load data.
    """

    def __init__(
        self,
        path: str | None = None,
        name: Literal["tumours", "star"] = "tumours",
        targets: list[str] = ["diagnosis", "worst_area", "worst_texture"],  # noqa: B006
        features: list[str] | None = None,
        drop: list[str] = [],  # noqa: B006
        by: str | None = None,
        time: str | None = None,
        cells: Cells = Cells(),  # noqa: B008
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> None:
        rows = read_rows(path, cells=cells) if path is not None else star() if name == "star" else tumours()
        asked = {"targets": targets, "data.features": features or [], "data.drop": drop}
        for option, columns in {**asked, "data.by": [by] if by else [], "data.time": [time] if time else []}.items():
            refuse_unknown(option, columns, rows.column_names, "columns")
        splits = split(rows, {"train": 0.7, "validation": 0.15, "test": 0.15}, by=by, time=time)
        aside = [*targets, *drop, *([by] if by else []), *([time] if time else [])]
        features = features or feature_columns(splits, leave_out=aside, cells=cells)
        source = Source(splits, features=features, cells=cells)
        source.inputs(None, targets, "rows")  # raises if a given column cannot be a feature
        super().__init__({"rows": source}, batch_size=batch_size, num_workers=num_workers)


class TableModel(MultiTaskModule):
    """A multilayer perceptron, shared by a head for each target.

    Args:
        targets: The columns to predict.
        tasks: The targets to train. Default: all.
        width: Size of each layer, and of the shared features.
        layers: Number of layers.
        dropout: Share of each layer's output that is dropped in training.
        weights: Factor of the loss of a task, e.g. {diagnosis: 0.5}.
        dropouts: Share of the features that the head of a task drops in training, e.g. {diagnosis: 0.1}.
        rates: Learning rate of the head of a task, e.g. {diagnosis: 0.01}.
        optimizer: Learning rates, warm-up and decay.
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        targets: list[str] = ["diagnosis", "worst_area", "worst_texture"],  # noqa: B006
        tasks: list[str] | None = None,
        width: int = 64,
        layers: int = 2,
        dropout: float = 0.1,
        weights: dict[str, float] | None = None,
        dropouts: dict[str, float] | None = None,
        rates: dict[str, float] | None = None,
        optimizer: FineTuning = FineTuning(lr=1e-3, decay="constant"),  # noqa: B008
        **balancing: Any,
    ) -> None:
        names = tasks or targets
        made = tasks_of(names, targets, weights=weights, dropouts=dropouts)
        trunk = Tabular(width, layers=layers, dropout=dropout)
        super().__init__(made, HardSharing(trunk), optimizer=with_rates(optimizer, names, targets, rates), **balancing)


def main(args: list[str] | None = None) -> Any:
    """Train all networks, and print the table."""
    trainer = {"max_epochs": 40, "enable_model_summary": False, "log_every_n_steps": 10}
    shortcuts = {"targets": ("diagnosis,worst_area,worst_texture", ["data.targets", "model.targets"])}
    return MultiTaskCLI(TableModel, Rows, folder="runs/table", trainer=trainer, shortcuts=shortcuts, args=args).run()


if __name__ == "__main__":
    main()
