"""Sentiment, topic and disagreement of rated texts: one network against three.

About twenty people rated each text. Three tasks read it: its sentiment (from the mean rating), its topic (the domain that it
comes from), and the disagreement of the raters (a regression of their standard deviation). Over paired seeds, the run trains one
network for all three tasks and one for each. It ends with a table of what each task gains or loses by sharing.

Your own file (`--data.path`) needs the columns text, sentiment, topic and disagreement; classes may be words or numbers, and
cells may be empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import datasets
import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics.regression import ConcordanceCorrCoef, R2Score

from lightning_mtl import (
    BagOfWords,
    Cells,
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Task,
    split,
)
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.data import refuse_doubtful
from lightning_mtl.files import read_rows
from lightning_mtl.recipes.data import rated_texts, refuse_missing, with_values
from lightning_mtl.samplers import Batches, Rule, Steps

TASKS = ("sentiment", "topic", "disagreement")


class RatedTexts(MultiTaskDataModule):
    """Texts with three labels each, split by text into train, validation and test (8 : 1 : 1).

    With `apart`, each task has its own training texts, as if its labels came from another corpus. Then there are three sources of
    different sizes, and it matters how often each is drawn.

    Args:
        path: Your own CSV, JSONL or Parquet file. Default: the rated texts, downloaded on first use.
        batch_size: Number of texts in a step; with `apart` and a batch of every source, of each source.
        num_workers: Number of worker processes that load data.
        apart: Shares of the training texts for sentiment, topic and disagreement. Default: all texts for all tasks; with
            `sampling` or `batches`, 0.1, 0.6 and 0.3.
        sampling: How often the texts of each task are drawn, e.g. Temperature.
        batches: What a step holds: all, homogeneous, stratified or mixed.
        steps_per_epoch: Number of steps in an epoch.
        cells: What cells of the file mean that can be read in two ways; see `Cells`.
    """

    def __init__(
        self,
        path: str | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
        apart: tuple[float, float, float] | None = None,
        sampling: Rule | None = None,
        batches: Batches | None = None,
        steps_per_epoch: Steps = None,
        cells: Cells = Cells(),  # noqa: B008
    ) -> None:
        rows = labelled(rated_texts()) if path is None else coded(read_rows(path, cells=cells), cells)
        splits = split(rows, {"train": 0.8, "validation": 0.1, "test": 0.1}, by="text")
        made = {"texts": Source(splits, text="text")}
        if apart or sampling or batches:
            made = dealt(splits, apart or (0.1, 0.6, 0.3))
        super().__init__(
            made,
            batch_size=batch_size,
            num_workers=num_workers,
            sampling=sampling,
            batches=batches,
            steps_per_epoch=steps_per_epoch,
        )
        self.sentiments, self.topics = (rows.features[name].num_classes for name in ("sentiment", "topic"))


class SentimentTopic(MultiTaskModule):
    """A bag of words and word pairs, shared by three heads.

    Args:
        tasks: The tasks to train.
        width: Size of the shared features.
        buckets: Number of embeddings of words and word pairs.
        dropout: Share of the shared features that is dropped in training.
        sentiments: Number of sentiments; set from the data.
        topics: Number of topics; set from the data.
        optimizer: Creates the optimizer.
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        tasks: list[Literal["sentiment", "topic", "disagreement"]] = ["sentiment", "topic", "disagreement"],  # noqa: B006
        width: int = 64,
        buckets: int = 65536,
        dropout: float = 0.5,
        sentiments: int = 3,
        topics: int = 4,
        optimizer: OptimizerCallable = lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3, fused=True),
        **balancing: Any,
    ) -> None:
        made = {
            "sentiment": Task("sentiment", head=Multiclass(sentiments)),
            "topic": Task("topic", head=Multiclass(topics)),
            "disagreement": Task(
                "disagreement", head=Regression(), metrics={"concordance": ConcordanceCorrCoef(), "r2": R2Score()}
            ),
        }
        trunk = BagOfWords(width, buckets=buckets, dropout=dropout)
        super().__init__([made[name] for name in tasks], HardSharing(trunk), optimizer=optimizer, **balancing)


def dealt(splits: Mapping[str, datasets.Dataset], parts: Sequence[float]) -> dict[str, Source]:
    """Divide the training texts among the tasks, by these shares; validation and test are the same for all."""
    train = split(splits["train"], dict(zip(TASKS, parts, strict=True)), by="text", seed=1)
    return {task: Source({**splits, "train": train[task]}, text="text") for task in TASKS}


def labelled(rows: datasets.Dataset) -> datasets.Dataset:
    """Return rows with the three labels; the sentiment depends on whether the mean rating is below -0.5 or above 0.5."""
    features = datasets.Features(
        text=datasets.Value("string"),
        sentiment=datasets.ClassLabel(names=["negative", "neutral", "positive"]),
        topic=datasets.ClassLabel(names=sorted(set(rows[:]["domain"]))),
        disagreement=datasets.Value("float32"),
    )
    return rows.map(label, remove_columns=rows.column_names, features=features, desc="Label")


def label(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels of one text."""
    sentiment = int(row["valence"] >= -0.5) + int(row["valence"] > 0.5)
    return {"text": row["text"], "sentiment": sentiment, "topic": row["domain"], "disagreement": row["spread"]}


def coded(rows: datasets.Dataset, cells: Cells) -> datasets.Dataset:
    """Number the classes of the user's own file."""
    refuse_missing("data.path", ["text", *TASKS], rows.column_names)
    refuse_doubtful(rows, TASKS, cells, target=True)
    rows = with_values(rows, "text")
    return rows.class_encode_column("sentiment").class_encode_column("topic")


def main(args: list[str] | None = None) -> Any:
    """Train all networks, and print the table."""
    trainer = {"max_epochs": 8, "enable_model_summary": False}
    links = {"sentiments": "sentiments", "topics": "topics"}
    return MultiTaskCLI(
        SentimentTopic, RatedTexts, folder="runs/sentiment_topic", trainer=trainer, links=links, args=args
    ).run()


if __name__ == "__main__":
    main()
