"""The data module of episodes: from labelled datasets and families of functions to loaders of episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning as L

from .._checks import require, require_number
from .._lightning import hide_val_dataloader
from ..data import (
    Source,
    build_layers,
    counter_of,
    fitted_tokenizer,
    inputs_of,
    ranks_of,
    refuse_bad_sources,
    seed_or_global,
)
from ..encoders import Tokenizer
from ..families import Family
from ..inputs import Inputs, Plain
from ..samplers import EpisodeSampler, Shots, refuse_sizes
from ..task import Task
from ._class_episodes import ClassEpisodes
from ._classes import Classes, classes_of_splits, warn_of_streams
from ._episode_table import episode_table
from ._episodic_task import episodic_task
from ._family_episodes import FamilyEpisodes
from ._loader import Drawing, EpisodeLoader, EpisodePlan
from ._resuming import facts_of, resume

_SPLITS = ("train", "validation", "test")
_STAGES = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",), "predict": ()}


class EpisodeDataModule(L.LightningDataModule):
    """Feed episodes to a `MetaLearningModule`: some examples of a task to adapt to (the support), and others to evaluate on (the query).

    An episode of a labelled dataset is a new task: to classify some of its classes (N-way K-shot). An episode of a family of
    functions is one function. A step holds `episodes` of each source. Episodes are functions of the seed and the step: they do not
    depend on the number of workers or ranks, each rank draws others, and a resumed run continues with the episodes of an
    uninterrupted run. Episodes for validation and test are the same in each pass.

    Args:
        sources: {name: source}; a source is a `Source` or dataset, {split: dataset} where no class is in two splits, or a
            `Family` of functions, whose splits are drawn from different seeds.
        ways: Classes of an episode.
        shots: Examples of each class to adapt to; for a function, points. With two numbers, a number from the first to the second
            is drawn.
        queries: Examples of each class to evaluate on; for a function, points. Default: 15; for a function, as many as `shots`.
        episodes: Episodes of each source in a step, on each process.
        steps_per_epoch: Steps in an epoch.
        validation_episodes: Episodes of each source in a validation.
        test_episodes: Episodes of each source in a test.
        balanced: Whether all classes of an episode have equally many examples; else its rows are drawn at random from all rows of
            its classes.
        seed: Other seeds draw other episodes. Default: that of `seed_everything`, or 0.
        num_workers: Processes that read ahead.
        tokenizer: Turns texts into tensors. Default: the encoder's.
        summary: Whether to print a table of the data before training.

    Raises:
        ValueError: There is no source, or a number is out of its range; in `setup`, more ways than classes, a class with too few
            examples, or a class that is in two splits.

    Example:
        >>> rows = [{"x": [float(i % 6), float(i)], "kind": "abcdef"[i % 6]} for i in range(60)]
        >>> from lightning_mtl import HardSharing, MetaLearningModule, Task
        >>> from torch import nn
        >>> data = EpisodeDataModule({"numbers": rows}, ways=3, shots=2, queries=4, episodes=8, steps_per_epoch=2, summary=False)
        >>> module = MetaLearningModule([Task("kind")], HardSharing(nn.Linear(2, 8), width=8))
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> L.Trainer(max_epochs=1, enable_model_summary=False, accelerator="cpu", **quiet).fit(module, data)
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["numbers"]["support"]["x"].shape, batch["numbers"]["query"]["kind"].shape
        (torch.Size([8, 6, 2]), torch.Size([8, 12]))
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        *,
        ways: int = 5,
        shots: Shots = 1,
        queries: int | None = None,
        episodes: int = 4,
        steps_per_epoch: int = 100,
        validation_episodes: int = 100,
        test_episodes: int = 600,
        balanced: bool = True,
        seed: int | None = None,
        num_workers: int = 0,
        tokenizer: Tokenizer | None = None,
        summary: bool = True,
    ) -> None:
        super().__init__()
        refuse_bad_sources(sources, "dataset or family")
        refuse_sizes(ways, shots, 1 if queries is None else queries)
        _refuse_small(
            episodes=episodes,
            steps_per_epoch=steps_per_epoch,
            validation_episodes=validation_episodes,
            test_episodes=test_episodes,
        )
        require_number("num_workers", num_workers, "0 is the default.", at_least=0, whole=True)
        remedy = "Leave it out for that of `seed_everything`."
        require_number("seed", seed, remedy, at_least=0, whole=True, optional=True)
        self.sources: dict[str, Source | Family] = {
            name: data if isinstance(data, Source | Family) else Source(data) for name, data in sources.items()
        }
        self.ways, self.shots, self.queries = ways, shots, queries
        self.episodes, self.steps_per_epoch = episodes, steps_per_epoch
        self.totals = {"validation": validation_episodes, "test": test_episodes}
        self.balanced, self.seed, self.num_workers = balanced, seed, num_workers
        self.tokenizer, self.summary = tokenizer, summary
        self._drawings: dict[str, dict[str, Drawing]] = {}
        self._training: EpisodeLoader | None = None
        self._resumed: Mapping[str, Any] | None = None
        self._seed = 0

    def setup(self, stage: str) -> None:
        """Read the splits of this stage, and check that episodes can be drawn from them.

        Raises:
            ValueError: No episodes can be drawn; the message names the source, and a remedy.
        """
        self.setup_for(getattr(self.trainer, "lightning_module", None), stage)

    def setup_for(self, module: Any, stage: str = "test") -> None:
        """Read the splits of a stage for a module without a Trainer; see `setup`.

        Args:
            module: The module.
            stage: "fit", "validate" or "test".
        """
        tasks: Sequence[Task] = getattr(module, "tasks", ())
        reads = {name: episodic_task(name, self.sources, tasks, self.ways) for name in self.sources}
        inputs = {name: self._inputs(name, task, module) for name, task in reads.items()}
        classes = {name: self._classes(name, task) for name, task in reads.items() if _STAGES[stage]}
        for split in _STAGES[stage]:
            self._drawings[split] = {
                name: self._drawing(name, split, task, inputs[name], classes[name])
                for name, task in reads.items()
                if self._has(name, split)
            }
            if not self._drawings[split] and (split, stage) != ("validation", "fit"):
                raise ValueError(
                    f"No source has the split {split!r}; splits are out of {list(_SPLITS)}. Add it to a source."
                )
        if stage == "fit":
            warn_of_streams(self.sources)
            before = self._earlier_fit()
            self._training, self._resumed, self._seed = None, before, seed_or_global(self.seed)
            hide_val_dataloader(self, hide=not self._drawings["validation"])
        if module is not None and stage != "predict":
            module.inputs = inputs
            bound = {task.name: name for name, task in reads.items()}
            module.routing.bind(list(self.sources), bound, every_task_every_step=True)
            build_layers(self.trainer, module)
        if stage == "fit" and self.summary and self.trainer is not None and self.trainer.is_global_zero:
            print(episode_table(self._drawings, self.totals, self.episodes, self.shots))
            for name, source in self.sources.items():
                if isinstance(source, Source) and source.goes_on:
                    print(f"Source {name!r}: episodes are drawn from its first {len(source.splits['train']):,} rows.")

    def _earlier_fit(self) -> dict[str, Any] | None:
        """Return where an earlier fit of the same Trainer has ended, which goes on; another Trainer begins anew."""
        done = counter_of(self.trainer)
        return self.state_dict() if self._training is not None and done is not None and done() else None

    def _has(self, name: str, split: str) -> bool:
        source = self.sources[name]
        return isinstance(source, Family) or split in source.splits

    def _inputs(self, name: str, task: Task, module: Any) -> Inputs:
        source = self.sources[name]
        if isinstance(source, Family):
            return Inputs([Plain(["x"])])
        tokenizer = fitted_tokenizer(self.tokenizer, module, [source])
        return inputs_of(source, name, module, tokenizer, task.columns)

    def _classes(self, name: str, task: Task) -> Classes:
        source = self.sources[name]
        return {} if isinstance(source, Family) else classes_of_splits(source, name, task.columns)

    def _drawing(self, name: str, split: str, task: Task, inputs: Inputs, classes: Classes) -> Drawing:
        source, seed = self.sources[name], seed_or_global(self.seed)
        if isinstance(source, Family):
            shots = (self.shots, self.shots) if isinstance(self.shots, int) else (self.shots[0], self.shots[1])
            return FamilyEpisodes(source, shots, self.queries or shots[1], task, seed)
        try:
            sampler = EpisodeSampler(
                classes[split],
                ways=self.ways,
                shots=self.shots,
                queries=self.queries or 15,
                balanced=self.balanced,
                seed=seed,
            )
        except ValueError as error:
            raise ValueError(f"Source {name!r}, split {split!r}: {error}") from error
        return ClassEpisodes(source.examples(split, inputs, task.columns, name), sampler, task)

    @property
    def _per_step(self) -> int:
        """Episodes of each source in a step, on all ranks."""
        return self.episodes * ranks_of(self.trainer).world

    def train_dataloader(self) -> EpisodeLoader:
        """Return the loader of training, with new episodes in each step."""
        rank, ranks = ranks_of(self.trainer)
        count = self._per_step
        share = getattr(self.trainer, "overfit_batches", 0) if self.trainer is not None else 0
        frozen = share if isinstance(share, int) else round(share * self.steps_per_epoch)

        def plans(first: int) -> Iterator[EpisodePlan]:
            for step in range(first, first + self.steps_per_epoch):
                yield step % frozen if frozen else step, count, range(rank, count, ranks)

        if self._training is None:
            self._go_on()
        state = self.state_dict() or self._resumed  # of the loader before this one, or of a checkpoint
        self._training = self._loader("train", plans, self.steps_per_epoch)
        self._training.batches_done = counter_of(self.trainer)
        if state is not None:
            self._training.load_state_dict(state)
        return self._training

    def val_dataloader(self) -> Any:
        """Return the loader of the validation episodes."""
        return self._evaluating("validation")

    def test_dataloader(self) -> Any:
        """Return the loader of the test episodes."""
        return self._evaluating("test")

    def _evaluating(self, split: str) -> EpisodeLoader:
        rank, ranks = ranks_of(self.trainer)
        total = self.totals[split]
        require(total >= ranks, f"{split}_episodes", f"at least {ranks}, one for each process", total, "Raise it.")
        own = range(rank, total, ranks)
        parts = [own[start : start + self.episodes] for start in range(0, len(own), self.episodes)]
        return self._loader(split, lambda first: iter([(0, total, part) for part in parts]), len(parts))

    def _loader(self, split: str, plans: Callable[[int], Iterator[EpisodePlan]], length: int) -> EpisodeLoader:
        if split not in self._drawings:
            raise RuntimeError(f"The split {split!r} is not read yet. Call `setup` first, or let the Trainer do it.")
        return EpisodeLoader(self._drawings[split], split, plans, length, num_workers=self.num_workers)

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps of training were delivered, and what determines their episodes."""
        if self._training is None:
            return {}
        made_of = facts_of(self._drawings["train"], self._per_step)
        return {**self._training.state_dict(), "seed": self._seed, "made_of": made_of}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the last delivered step of training, with the seed of that run.

        Raises:
            ValueError: The state is of other episodes.
        """
        self._resumed = state_dict or None
        if getattr(self.trainer, "training", False) or getattr(self.trainer, "sanity_checking", False):
            self._go_on()

    def _go_on(self) -> None:
        """Go on with the episodes of a checkpoint, those of validation too."""
        if self._resumed is not None:
            self._seed = resume(self._drawings, self._resumed, self._per_step, self._seed, self.seed)


def _refuse_small(**counts: int) -> None:
    for name, value in counts.items():
        require_number(name, value, "Leave it out for the default.", at_least=1, whole=True)
