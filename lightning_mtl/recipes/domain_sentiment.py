"""Sentiment in four domains: one network for all against one for each, then the domains one after another.

Films, editorials, tweets and products: about twenty people rated the sentiment of each text. Each domain is a source with its own
task, a regression of the mean rating. Over paired seeds, the run trains one network for all domains, one for each domain alone, and
one for each domain that is fine-tuned from the network for all. Then it trains one network on the domains one after another, which
forgets; and again with a replay of earlier texts, which prevents most of that. It ends with a table of what each domain gains or
loses by sharing, and a page with figures (`report.html`).

Your own file (`--data.path`) needs the columns text, domain and valence; its domains are the tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics.regression import ConcordanceCorrCoef, R2Score

from lightning_mtl import (
    BagOfWords,
    Cells,
    HardSharing,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Task,
    split,
)
from lightning_mtl.callbacks import ConflictMonitor, ForgettingMonitor, GapMonitor, Replay, TransferMonitor
from lightning_mtl.cli import MultiTaskCLI, finish
from lightning_mtl.files import read_rows
from lightning_mtl.recipes.data import rated_texts, refuse_missing, with_values
from lightning_mtl.report import Report
from lightning_mtl.samplers import Batches, Phase, Phases, Proportional, Rule, Steps


class Domains(MultiTaskDataModule):
    """A source for each domain, split by text into train, validation and test (7 : 1 : 2).

    Args:
        path: Your own CSV, JSONL or Parquet file. Default: the rated texts, downloaded on first use.
        batch_size: Number of texts in a step, of all domains together.
        num_workers: Number of worker processes that load data.
        sampling: How often each domain is drawn. Default: in proportion to its number of texts.
        batches: What a step holds: all, homogeneous, stratified or mixed.
        steps_per_epoch: Number of steps in an epoch.
        cells: What cells of the file mean that can be read in two ways; see `Cells`.
    """

    def __init__(
        self,
        path: str | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
        sampling: Rule = Proportional(),  # noqa: B008
        batches: Batches = "stratified",
        steps_per_epoch: Steps = None,
        cells: Cells = Cells(),  # noqa: B008
    ) -> None:
        rows = rated_texts() if path is None else own_texts(path, cells)
        parts = split(rows, {"train": 0.7, "validation": 0.1, "test": 0.2}, by="text")
        self.domains = sorted(set(rows[:]["domain"]))
        made = {
            name: Source(
                {kind: part.select(of_domain(part, name)) for kind, part in parts.items()}, text="text", cells=cells
            )
            for name in self.domains
        }
        super().__init__(
            made,
            batch_size=batch_size,
            num_workers=num_workers,
            sampling=sampling,
            batches=batches,
            steps_per_epoch=steps_per_epoch,
        )

    def one_after_another(self, passes: int) -> MultiTaskDataModule:
        """Return a data module of the same texts that trains on one domain after another, from the largest to the smallest.

        Args:
            passes: How often each text is read.
        """
        sizes = {name: len(source.splits["train"]) for name, source in self.sources.items()}
        turns = [Phase([name], passes=float(passes)) for name in sorted(sizes, key=lambda name: -sizes[name])]
        in_turn = Phases(turns, repeat=False)
        settings: Any = {"batch_size": self.batch_size, "num_workers": self.num_workers}
        return MultiTaskDataModule(self.sources, sampling=in_turn, summary=False, **settings)


def own_texts(path: str, cells: Cells) -> datasets.Dataset:
    """Read the user's own file, without the rows that have no text or no domain."""
    rows = read_rows(path, cells=cells)
    refuse_missing("data.path", ["text", "domain", "valence"], rows.column_names)
    return with_values(with_values(rows, "text"), "domain").cast_column("domain", datasets.Value("string"))


def of_domain(rows: datasets.Dataset, name: str) -> list[int]:
    """Return the numbers of the rows of a domain."""
    return [number for number, domain in enumerate(rows["domain"]) if domain == name]


class DomainSentiment(MultiTaskModule):
    """A bag of words and word pairs, shared by a head for each domain.

    Args:
        tasks: The domains to train. Default: all.
        domains: All domains; set from the data.
        width: Size of the shared features.
        buckets: Number of embeddings of words and word pairs.
        dropout: Share of the shared features that is dropped in training.
        optimizer: Creates the optimizer.
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        tasks: list[str] | None = None,
        domains: list[str] = ["editorials", "films", "products", "tweets"],  # noqa: B006
        width: int = 64,
        buckets: int = 65536,
        dropout: float = 0.5,
        optimizer: OptimizerCallable = lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3, fused=True),
        **balancing: Any,
    ) -> None:
        judged = {"concordance": ConcordanceCorrCoef(), "r2": R2Score()}
        made = [Task(name, name, target="valence", head=Regression(scaled=True), metrics=judged) for name in domains]
        trunk = BagOfWords(width, buckets=buckets, dropout=dropout)
        chosen = [task for task in made if tasks is None or task.name in tasks]
        super().__init__(chosen, HardSharing(trunk), optimizer=optimizer, **balancing)


class DomainCLI(MultiTaskCLI):
    """Compare the networks, and then train on the domains one after another, without and with replay."""

    two_stage = True

    def more_runs(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Train on one domain after another, without and with replay.

        Args:
            folder: The folder of this run.
        """
        found = {}
        for name in ("one after another", "with replay"):
            seed = self._seeds()[0]
            L.seed_everything(seed, verbose=False)
            trainer: Any = self._trainer(folder, f"{name.replace(' ', '-')}/seed{seed}")
            trainer.fit(self._model(None), self.datamodule.one_after_another(max(1, trainer.max_epochs or 1)))
            found[name] = next(of for of in trainer.callbacks if isinstance(of, Report)).record()
            finish(trainer)
        return found

    def _watching(self, run: str) -> list[L.Callback]:
        arm = run.split("/")[0]
        if arm in ("one-after-another", "with-replay"):
            # The network would memorise a few rows that it reads often.
            replay = [Replay(rows=2500, batch_size=128)] if arm == "with-replay" else []
            return [*replay, ForgettingMonitor(every=20, tolerance=0.03, keep_best=False), Report()]
        return super()._watching(run)


def monitors() -> list[L.Callback]:
    """Return the monitors of the network for all domains."""
    return [
        ForgettingMonitor(every=20, tolerance=0.03),
        GapMonitor(),
        ConflictMonitor(every=20),
        TransferMonitor(every=20),
    ]


def main(args: list[str] | None = None) -> Any:
    """Train all networks, and print the table."""
    # An alarm needs eight validations, so there are two in each epoch.
    trainer = {"max_epochs": 6, "val_check_interval": 0.5, "enable_model_summary": False, "log_every_n_steps": 10}
    return DomainCLI(
        DomainSentiment,
        Domains,
        folder="runs/domain_sentiment",
        trainer=trainer,
        links={"domains": "domains"},
        monitors=monitors,
        args=args,
    ).run()


if __name__ == "__main__":
    main()
