"""A pretrained model here and in a loop of one's own: the same features, losses and weights."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from lightning_mtl import HardSharing, HuggingFace, Multiclass, MultiTaskDataModule, MultiTaskModule, Source, Task
from tests.models import MINILM, quiet, text_rows

STEPS, BATCH, LABELS = 4, 4, ["happy", "sad", "so-so"]


class ByHand(L.LightningModule):
    """What one writes without the library: transformers, a mean over the tokens, a linear layer, cross-entropy."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(MINILM)
        self.model = AutoModel.from_pretrained(MINILM, add_pooling_layer=False).train()
        self.head = head
        self.losses: list[float] = []

    def collate(self, rows: list[dict[str, Any]]) -> tuple[dict[str, Tensor], Tensor]:
        tokens = self.tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        return dict(tokens), torch.tensor([LABELS.index(row["mood"]) for row in rows])

    def logits(self, tokens: dict[str, Tensor]) -> Tensor:
        states = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        made: Tensor = self.head((states * mask).sum(1) / mask.sum(1))
        return made

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.logits(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Losses(L.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs["loss"].item())


@pytest.fixture(scope="module")
def ours() -> Any:
    torch.manual_seed(0)
    return MultiTaskModule(
        [Task("mood", head=Multiclass(3))],
        HardSharing(HuggingFace(MINILM)),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-4),
    )


def test_features_are_those_of_transformers(ours: Any) -> None:
    texts = ["A fine day.", "What a waste of time, and of money!", ""]
    tokens = AutoTokenizer.from_pretrained(MINILM)(texts, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(MINILM).eval()
    with torch.inference_mode():
        states, mask = ours.eval().encoder.trunk(**tokens)
        assert_close(states, model(**tokens).last_hidden_state, rtol=1e-6, atol=1e-6)
    assert_close(mask, tokens["attention_mask"])


def test_training_is_that_of_a_loop_by_hand(ours: Any) -> None:
    """With the dropout of the model: the same seed, batches and steps give the same losses and weights."""
    rows = text_rows(STEPS * BATCH)
    head = nn.Linear(384, 3)
    head.load_state_dict(ours.heads["mood"].layers.state_dict())
    theirs = ByHand(head)
    data = MultiTaskDataModule({"s": Source(rows, text="text")}, batch_size=BATCH, summary=False, seed=0, bucket=False)
    watch = Losses()
    order: list[str] = []
    data.tokenizer = ours.encoder.tokenizer
    data.setup("fit")
    for batch in data.train_dataloader():
        order += theirs.tokenizer.batch_decode(batch["s"]["input_ids"], skip_special_tokens=True)
    by_text = {
        theirs.tokenizer.decode(theirs.tokenizer(row["text"])["input_ids"], skip_special_tokens=True): row
        for row in rows
    }
    assert len(by_text) == len(rows) == len(order)
    torch.manual_seed(7)
    quiet(callbacks=[watch]).fit(ours.train(), data)
    torch.manual_seed(7)
    ordered: Any = [by_text[text] for text in order]
    own: Any = {"generator": torch.Generator()}  # ours draws nothing from the random state of training either
    loader = DataLoader(ordered, batch_size=BATCH, collate_fn=theirs.collate, **own)
    quiet().fit(theirs, loader)
    assert watch.seen == pytest.approx(theirs.losses, rel=1e-6)
    assert len(set(watch.seen)) == STEPS
    state = theirs.model.state_dict()
    for name, value in ours.encoder.trunk.model.state_dict().items():
        assert_close(value, state[name], rtol=1e-6, atol=1e-7)
    assert_close(ours.heads["mood"].layers.weight, head.weight, rtol=1e-6, atol=1e-7)
