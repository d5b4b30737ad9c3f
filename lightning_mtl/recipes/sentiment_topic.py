"""Sentiment, topic and disagreement of rated texts: one network against three.

Each text was rated by some twenty people. Three tasks read it: its sentiment (from the mean rating), its topic (the domain it
comes from), and how much the raters disagree (their standard deviation, a regression). The run trains one network for
all three and one for each, over paired seeds, and ends in a table of what each task gains or loses by sharing.

A file of your own (`--data.path`) needs the columns text, sentiment, topic and disagreement; classes may be words or numbers, and
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
from lightning_mtl.files import read_rows
from lightning_mtl.recipes.data import rated_texts
from lightning_mtl.samplers import Batches, Rule, Steps

TASKS = ("sentiment", "topic", "disagreement")


class RatedTexts(MultiTaskDataModule):
    """Texts with three labels each, split by text into train, validation and test (8 : 1 : 1).

    With `apart`, each task learns from texts of its own, as if its labels came from another corpus: then there are three sources
    of unequal size, and it matters how often each is drawn.

    Args:
        path: A CSV, JSONL or Parquet file of your own. Default: the rated texts, fetched on first use.
        batch_size: Texts in a step; with `apart` and a batch of every source, of each.
        num_workers: Processes that read ahead.
        apart: Shares of the training texts of sentiment, topic and disagreement. Default: all texts for all tasks; with
            `sampling` or `batches`, 0.1, 0.6 and 0.3.
        sampling: How often each task's texts are drawn, e.g. Temperature.
        batches: What a step holds: all, homogeneous, stratified or mixed.
        steps_per_epoch: Steps in an epoch.
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
    ) -> None:
        rows = labelled(rated_texts()) if path is None else coded(read_rows(path))
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
        tasks: Which of the tasks to train.
        width: Size of the shared features.
        buckets: How many words and word pairs are told apart.
        dropout: Share of the shared features that is dropped while training.
        sentiments: Number of sentiments; follows from the data.
        topics: Number of topics; follows from the data.
        optimizer: Makes the optimizer.
        balancing: `balancer`, e.g. PCGrad, and where it measures; see `MultiTaskModule`.
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
    """Deal the training texts to the tasks, by these shares; validation and test stay as they are."""
    train = split(splits["train"], dict(zip(TASKS, parts, strict=True)), by="text", seed=1)
    return {task: Source({**splits, "train": train[task]}, text="text") for task in TASKS}


def labelled(rows: datasets.Dataset) -> datasets.Dataset:
    """Make the three labels: sentiment by a mean rating below -0.5, between, or above 0.5."""
    features = datasets.Features(
        text=datasets.Value("string"),
        sentiment=datasets.ClassLabel(names=["negative", "neutral", "positive"]),
        topic=datasets.ClassLabel(names=sorted(set(rows[:]["domain"]))),
        disagreement=datasets.Value("float32"),
    )
    return rows.map(label, remove_columns=rows.column_names, features=features, desc="Label")


def label(row: Mapping[str, Any]) -> dict[str, Any]:
    """Make the labels of one text."""
    sentiment = int(row["valence"] >= -0.5) + int(row["valence"] > 0.5)
    return {"text": row["text"], "sentiment": sentiment, "topic": row["domain"], "disagreement": row["spread"]}


def coded(rows: datasets.Dataset) -> datasets.Dataset:
    """Number the classes of a file of the user's own."""
    return rows.class_encode_column("sentiment").class_encode_column("topic")


def main(args: list[str] | None = None) -> Any:
    """Train all of it, and print the table."""
    trainer = {"max_epochs": 8, "enable_model_summary": False}
    links = {"sentiments": "sentiments", "topics": "topics"}
    return MultiTaskCLI(
        SentimentTopic, RatedTexts, folder="runs/sentiment_topic", trainer=trainer, links=links, args=args
    ).run()


if __name__ == "__main__":
    main()
