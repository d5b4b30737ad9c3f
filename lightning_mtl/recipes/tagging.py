"""Parts of speech, morphology and syntax of sentences: a task at each level against all tasks on top.

Each word of a sentence has a part of speech (`upos`), morphological features (`feats`), a word that it depends on (`head`) and the
name of that relation (`deprel`). These tasks are supervised at rising levels of a stack of recurrent layers: parts of speech at
level 1, features at level 2, syntax at level 3. The other network has the same layers and heads, with all tasks on top. Søgaard and
Goldberg (ACL 2016) and Hashimoto et al. (EMNLP 2017, table 8) found levels better. The run trains both networks over paired seeds,
and ends with a table that says by how much, or that there is no evidence either way.

The sentences are those of PetroGold. By default it trains on 1,000 of them, for 8 epochs with three layers of width 128, and validates
on 300, so that five seeds of both networks take less than ten minutes on two cores; `--data.sentences=null` takes all. The last row
of the table is the share of words whose head and relation are both right (labelled attachment score).

Your own file (`--data.path`) is CoNLL-U, or has a line for each word with the columns that `--data.columns` names, starting with
the word; `--targets` names the columns to predict, from the lowest level up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torchmetrics import MeanMetric

from lightning_mtl import (
    Arcs,
    FineTuning,
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    LevelledEncoder,
    MultiTaskDataModule,
    Source,
    StackedRecurrent,
    Task,
    Vocabulary,
)
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.files import read_sentences
from lightning_mtl.recipes._per_task import refuse_unknown
from lightning_mtl.recipes.data import petrogold, split_sentences, spread

LEVELS = {"upos": 1, "feats": 2, "head": 3, "deprel": 3}
_RATE = 5e-3  # learning rate from scratch


class Sentences(MultiTaskDataModule):
    """Sentences with labels for their words, split into train, validation and test (8 : 1 : 1), equal sentences together.

    Args:
        path: Your own file: CoNLL-U, or columns of words and labels. Default: PetroGold, downloaded on first use.
        columns: Names of the columns, starting with the word. Default: those of CoNLL-U.
        targets: The columns to predict.
        sentences: Largest number of training sentences, spread evenly; validation takes three tenths of it. null takes all.
        batch_size: Number of sentences in a step.
        num_workers: Number of worker processes that load data.
    """

    def __init__(
        self,
        path: str | None = None,
        columns: list[str] | None = None,
        targets: list[str] = list(LEVELS),  # noqa: B006
        sentences: int | None = 1000,
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> None:
        rows = petrogold() if path is None else read_sentences(path, columns)
        refuse_unknown("targets", targets, rows.column_names, "columns")
        words = "form" if columns is None else columns[0]
        rows = rows.select_columns([words, *targets])
        splits = split_sentences(rows, words, [name for name in targets if name != "head"])
        splits["train"] = spread(splits["train"], sentences)
        splits["validation"] = spread(splits["validation"], sentences and max(1, sentences * 3 // 10))
        super().__init__({"sentences": Source(splits, words=words)}, batch_size=batch_size, num_workers=num_workers)


class TaggingModel(HierarchicalModule):
    """A levelled encoder, and a head for each column of labels.

    Args:
        targets: The columns to predict, from the lowest level up.
        tasks: The targets to train. Default: all.
        on_top: Whether all tasks are at the top level.
        feeds: Whether tasks read the predictions of lower ones; then the network has more parameters than one with all tasks on top.
        encoder: "recurrent", or a Hugging Face folder or name.
        cut: For each level, the number of layers of a Hugging Face encoder up to its top. Default: thirds.
        levels: Other levels than the default, {task: level}.
        depth: Number of levels of a recurrent encoder.
        width: Size of its features.
        embedding: Size of its word embeddings.
        dropout: Share of its features that is dropped in training.
        optimizer: Learning rates, warm-up and decay. The default rate 2e-5 is for a Hugging Face encoder; a recurrent one then uses
            0.005.
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        targets: list[str] = list(LEVELS),  # noqa: B006
        tasks: list[str] | None = None,
        on_top: bool = False,
        feeds: bool = False,
        encoder: str = "recurrent",
        cut: list[int] | None = None,
        levels: dict[str, int] | None = None,
        depth: int = 3,
        width: int = 128,
        embedding: int = 64,
        dropout: float = 0.3,
        optimizer: FineTuning = FineTuning(),  # noqa: B008
        **balancing: Any,
    ) -> None:
        trunk: LevelledEncoder
        if encoder == "recurrent":
            vocabulary = Vocabulary(10_000)
            trunk = StackedRecurrent(width, depth, embedding=embedding, dropout=dropout, tokenizer=vocabulary)
            if optimizer.lr == FineTuning.lr:
                optimizer = replace(optimizer, lr=_RATE)
        else:
            whole = HuggingFace(encoder)
            trunk = HuggingFaceLevels(whole, thirds(whole.model.config.num_hidden_layers) if cut is None else cut)
        made = tasks_of(tasks or targets, targets, len(trunk.levels), on_top=on_top, feeds=feeds, moved=levels or {})
        super().__init__(made, trunk, optimizer=optimizer, **balancing)
        self.las = MeanMetric()

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update losses and metrics, and the share of words with the right head and the right relation."""
        super().test_step(batch, batch_idx, dataloader_idx)
        if {"head", "deprel"} <= {task.name for task in self.tasks}:
            found, labels = self(batch, ["head", "deprel"]), batch["sentences"]
            both = [found[name].argmax(-1) == labels[name] for name in found]
            known = (labels["head"] >= 0) & (labels["deprel"] >= 0)
            self.las.update((both[0] & both[1])[known].float())
            self.log("test/head and deprel/las", self.las, on_step=False, on_epoch=True)


def tasks_of(
    names: Sequence[str],
    targets: Sequence[str],
    top: int,
    *,
    on_top: bool,
    feeds: bool,
    moved: Mapping[str, int] | None = None,
) -> list[Task]:
    """Return the tasks, each at its level; a user's own columns are at rising levels.

    Example:
        >>> [(task.name, task.level, task.feeds_from) for task in tasks_of(["upos", "head"], ["upos", "head"], 3, on_top=False, feeds=True)]
        [('upos', 1, ()), ('head', 3, ('upos',))]
    """
    refuse_unknown("model.tasks", names, targets, "tasks")
    refuse_unknown("model.levels", list(moved or {}), targets, "tasks")
    if on_top and moved:
        raise ValueError(
            f"`model.levels` must be left out with `model.on_top`, got {dict(moved)}. Leave one of them out."
        )
    level = {name: min(LEVELS.get(name, place), top) for place, name in enumerate(targets, 1)}
    level |= {name: at if at > 0 else top + 1 + at for name, at in (moved or {}).items()}
    made = []
    for name in names:
        below = [other for other in names if level[other] < level[name] and other != "head"] if feeds else []
        place = -1 if on_top else level[name]
        made.append(
            Task(name, head=Arcs() if name == "head" else None, level=place, feeds_from=[] if on_top else below)
        )
    return made


def thirds(layers: int) -> list[int]:
    """Return the ends of three levels, or of fewer if there are fewer layers."""
    return sorted({max(1, layers * part // 3) for part in (1, 2, 3)})


def main(args: list[str] | None = None) -> Any:
    """Train both networks, and print the table."""
    trainer = {"max_epochs": 8, "enable_model_summary": False, "log_every_n_steps": 20}
    shortcuts = {"targets": (",".join(LEVELS), ["data.targets", "model.targets"])}
    arms = {"top": {"on_top": True}, "levels": {"on_top": False}}
    also = ["head and deprel/las"]
    options: dict[str, Any] = {"trainer": trainer, "shortcuts": shortcuts, "arms": arms, "also": also}
    return MultiTaskCLI(TaggingModel, Sentences, folder="runs/tagging", args=args, **options).run()


if __name__ == "__main__":
    main()
