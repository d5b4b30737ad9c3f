"""A trained module learns a task that it never saw, from a few rows."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from lightning_mtl import (
    BagOfWords,
    HardSharing,
    HierarchicalModule,
    Levels,
    MetaLearningModule,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Tagging,
    Task,
)
from lightning_mtl.adaptation import ANIL, BOIL, MAML, Adam, MetaSGD, ProtoNet
from tests import ROOT, builders
from tests.meta.episodes import QUIET, fit, for_rows, kinds, of_rows

WORDS = {"good": 1, "fine": 1, "great": 1, "bad": 0, "poor": 0, "awful": 0}


def texts(count: int = 60) -> list[dict[str, Any]]:
    words = list(WORDS)
    return [
        {"text": f"a {words[i % 6]} day {i % 7}", "mood": ["sad", "happy"][WORDS[words[i % 6]]]} for i in range(count)
    ]


@pytest.fixture(scope="module")
def single() -> MultiTaskModule:
    torch.manual_seed(0)
    module = MultiTaskModule([Task("mood")], HardSharing(BagOfWords()))
    trainer = L.Trainer(**QUIET, max_epochs=8)
    data = {"texts": Source({"train": texts()}, text="text")}
    trainer.fit(module, MultiTaskDataModule(data, batch_size=10, seed=0, summary=False))
    return module.eval()


FEW = [{"text": f"{word} one", "worth": ["no", "yes"][good]} for word, good in WORDS.items()]


def labels(module: Any, task: str, rows: list[dict[str, Any]]) -> list[Any]:
    return [row[task]["label"] for row in module.predict(rows)]


def test_a_single_network_learns_a_new_task_of_texts(single: MultiTaskModule) -> None:
    before = copy.deepcopy(single.state_dict())
    found = single.adapt(Task("worth"), FEW)
    assert type(found) is MultiTaskModule
    assert [task.name for task in found.tasks] == ["worth"]
    assert labels(found, "worth", FEW) == [row["worth"] for row in FEW]
    for (name, a), b in zip(before.items(), single.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not {id(p) for p in single.parameters()} & {id(p) for p in found.parameters()}


def test_what_adapts_is_what_the_method_says(single: MultiTaskModule) -> None:
    encoder = list(single.encoder.parameters())
    head_only = single.adapt(Task("worth"), FEW, method=ANIL(0.1, steps=3))
    body_only = single.adapt(Task("worth"), FEW, method=BOIL(0.1, steps=3))
    assert all(torch.equal(a, b) for a, b in zip(encoder, head_only.encoder.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(encoder, body_only.encoder.parameters(), strict=True))
    start = single.adapt(Task("worth"), FEW, method=MAML(0.1), steps=0)
    for a, b in zip(start.heads.parameters(), body_only.heads.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_are_those_by_hand(single: MultiTaskModule) -> None:
    start = single.adapt(Task("worth"), FEW, steps=0)
    found = single.adapt(Task("worth"), FEW, method=MAML(0.3), steps=4)
    batch = start.inputs["texts"](FEW)
    target = torch.tensor([WORDS[word] for word in WORDS])
    head: Any = start.heads["worth"]
    for p in start.parameters():
        p.requires_grad_()
    for _ in range(4):
        prediction = start({"texts": {**batch}})["worth"]
        loss = head.loss(prediction, target.to(head.dtype))
        torch.autograd.backward(loss)
        with torch.no_grad():
            for p in start.parameters():
                if p.grad is not None:
                    p.sub_(0.3 * p.grad)
                    p.grad = None
    for a, b in zip(start.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_what_comes_of_it_evaluates_trains_and_is_saved(single: MultiTaskModule, tmp_path: Path) -> None:
    found = single.adapt(Task("worth"), FEW)
    data = MultiTaskDataModule(
        {"texts": Source({"train": FEW * 4, "test": FEW}, text="text")}, batch_size=6, summary=False
    )
    trainer = L.Trainer(**QUIET, max_epochs=1)
    (scores,) = trainer.test(found, data, verbose=False)
    assert scores["test/worth/accuracy"] == 1.0
    trainer.fit(found.train(), data)
    found.save_pretrained(tmp_path)
    again = MultiTaskModule.from_pretrained(tmp_path)
    assert again.predict(FEW) == found.eval().predict(FEW)


def test_numbers_and_frames_are_learned_too(single: MultiTaskModule) -> None:
    import pandas as pd

    rows = pd.DataFrame({"text": [row["text"] for row in FEW], "stars": [5.0 * good for good in WORDS.values()]})
    found = single.adapt(Task("stars", head=Regression(scaled=True)), rows, steps=300)
    values = [row["stars"]["value"] for row in found.predict([{"text": f"{word} one"} for word in WORDS])]
    assert all(abs(value - 5 * good) < 1 for value, good in zip(values, WORDS.values(), strict=True))


def test_prototypes_of_a_new_task(single: MultiTaskModule) -> None:
    found = single.adapt(
        Task("worth", head=Multiclass(2)),
        [{**row, "worth": int(row["worth"] == "yes")} for row in FEW],
        method=ProtoNet(),
    )
    assert labels(found, "worth", FEW) == list(WORDS.values())


# Meta-learned


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a module that has learned to learn."""
    module = for_rows(MetaSGD(), optimizer=lambda p: torch.optim.Adam(p, 0.01))
    trainer = fit(module, of_rows(steps_per_epoch=60, episodes=8))
    path = tmp_path_factory.mktemp("meta") / "meta.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path


def new_task() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two examples of each of three classes that were never seen, and eight others of each."""
    rows = [{"x": row["x"], "sort": row["kind"]} for row in kinds(3, 10, first=50)]
    few = [row for i, row in enumerate(rows) if i % 10 < 2]
    return few, [row for i, row in enumerate(rows) if i % 10 >= 2]


def test_a_meta_learned_module_adapts_as_in_an_episode(learned: Path) -> None:
    module = MetaLearningModule.load_from_checkpoint(learned)
    few, others = new_task()
    found = module.adapt(Task("sort"), few)
    assert type(found) is MultiTaskModule
    names = sorted({row["sort"] for row in few})

    def part(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {
            "x": torch.tensor([[row["x"] for row in rows]]),
            "kind": torch.tensor([[names.index(row["sort"]) for row in rows]]),
        }

    trail = module.by_step({"rows": {"support": part(few), "query": part(others)}})["kind"]
    answers = [[row["sort"]["probabilities"][name] for name in names] for row in found.predict(others)]
    torch.testing.assert_close(torch.tensor(answers), trail.predictions[-1][0], rtol=1e-4, atol=1e-5)
    right = [row["sort"] == answer for row, answer in zip(others, labels(found, "sort", others), strict=True)]
    assert sum(right) / len(right) > 0.6  # a third by chance


PROGRAM = """
import json, sys
from lightning_mtl import MetaLearningModule, Task
few, others = json.load(open(sys.argv[2]))
found = MetaLearningModule.load_from_checkpoint(sys.argv[1]).adapt(Task("sort"), few)
print(json.dumps(found.predict(others)))
"""


def test_a_new_process_adapts_alike(learned: Path, tmp_path: Path) -> None:
    import json

    few, others = new_task()
    (tmp_path / "rows.json").write_text(json.dumps([few, others]))
    program = [sys.executable, "-c", PROGRAM, str(learned), str(tmp_path / "rows.json")]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, env={**os.environ}, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    here = MetaLearningModule.load_from_checkpoint(learned).adapt(Task("sort"), few).predict(others)
    assert json.loads(done.stdout.splitlines()[-1]) == here


def test_a_task_of_another_size_gets_a_head_of_its_own(learned: Path) -> None:
    module = MetaLearningModule.load_from_checkpoint(learned)
    few = [row for row in new_task()[0] if row["sort"] != "k52"]
    found = module.adapt(Task("sort", head=Multiclass(2, names=["k50", "k51"])), few, steps=20)
    assert labels(found, "sort", few) == [row["sort"] for row in few]


def test_batch_norms_take_the_statistics_of_the_support() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
    module = MetaLearningModule([Task("kind")], HardSharing(trunk, 8), adaptation=MAML(0.1))
    fit(module, of_rows(steps_per_epoch=10))
    norm: Any = trunk[1]
    assert torch.equal(norm.running_mean, torch.zeros(8))  # no episode moves it
    few, others = new_task()
    found = module.adapt(Task("sort"), few)
    assert torch.equal(norm.running_mean, torch.zeros(8))
    inside: Any = found.encoder
    x = torch.tensor([row["x"] for row in few])
    torch.testing.assert_close(inside.trunk[1].running_mean, inside.trunk[0](x).mean(0))
    alone = [found.predict(row)["sort"]["probabilities"] for row in others[:3]]
    together = [row["sort"]["probabilities"] for row in found.predict(others[:3])]
    assert [list(row) for row in alone] == [list(row) for row in together]
    assert alone[0] == pytest.approx(together[0], abs=1e-5)  # no row depends on the others


# Hierarchies


def hierarchy() -> HierarchicalModule:
    torch.manual_seed(0)
    stack = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3)))
    made = [Task("sign", head=Multiclass(2), level=1), Task("size", head=Regression(), level=3, feeds_from=["sign"])]
    module = HierarchicalModule(made, Levels(stack, widths=[4, 4, 4]))
    trainer = L.Trainer(**QUIET, max_epochs=3)
    trainer.fit(module, MultiTaskDataModule({"s": builders.splits()}, batch_size=8, seed=0, summary=False))
    return module.eval()


@pytest.mark.parametrize("method", [None, MAML(0.05, steps=5), ProtoNet()])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_hierarchy_learns_a_task_at_its_level(method: Any, level: int, tmp_path: Path) -> None:
    module = hierarchy()
    before = copy.deepcopy(module.state_dict())
    few = [{"x": row["x"], "side": "left" if row["x"][1] > 0 else "right"} for row in builders.rows(24, 3)]
    found = module.adapt(Task("side", level=level), few, method=method)
    assert isinstance(found, HierarchicalModule)
    assert [task.name for task in found.tasks] == (["sign", "size", "side"] if level == 3 else ["side"])
    assert all(torch.equal(a, b) for a, b in zip(before.values(), module.state_dict().values(), strict=True))
    start = module.adapt(Task("side", level=level), few, steps=0, method=MAML())
    old, new = (
        module({"s": builders.columns([{"x": row["x"]} for row in few])}),
        start({"s": builders.columns([{"x": row["x"]} for row in few])}),
    )
    for name in set(old) & set(new):
        torch.testing.assert_close(old[name], new[name])  # what feeds it knows what it knew
    found.save_pretrained(tmp_path)
    again = HierarchicalModule.from_pretrained(tmp_path)
    assert again.predict(few, ["side"]) == found.predict(few, ["side"])


def test_steps_lower_the_loss_in_a_hierarchy() -> None:
    module = hierarchy()
    few = [{"x": row["x"], "side": "left" if row["x"][0] > 0 else "right"} for row in builders.rows(30, 3)]
    shares = []
    for steps in (0, 60):
        found = module.adapt(Task("side", level=3), few, method=MAML(0.1, optimizer=Adam()), steps=steps)
        shares.append(sum(a == row["side"] for a, row in zip(labels(found, "side", few), few, strict=True)) / 30)
    assert shares[1] > max(shares[0], 0.9)


def test_words_are_labelled_from_a_few_sentences() -> None:
    words = [
        {"words": ["big", "dog", "runs"], "tags": ["A", "N", "V"]},
        {"words": ["small", "cat", "sits"], "tags": ["A", "N", "V"]},
    ] * 6
    module = MultiTaskModule([Task("tags")], HardSharing(BagOfWords()))
    module.inputs = {}
    with pytest.raises(ValueError, match="A model must know how rows become tensors to be adapted"):
        module.adapt(Task("more", head=Tagging(3)), words)


# Bad input


@pytest.mark.parametrize(
    ("task", "rows", "options", "said"),
    [
        (Task("worth"), [{"text": "good"}], {}, "has no column 'worth'"),
        (
            Task("worth"),
            [{"review": "good", "worth": "yes"}, {"review": "bad", "worth": "no"}],
            {},
            "has no column 'text'",
        ),
        (Task("worth", "elsewhere"), FEW, {}, "reads source 'elsewhere'; sources are"),
        (Task("worth"), FEW, {"steps": -1}, "`steps` must be a whole number of at least 0, got -1"),
        (
            Task("worth", head=Regression()),
            [{"text": "a", "worth": 1.0}, {"text": "b", "worth": 2.0}],
            {"method": ProtoNet()},
            "for ProtoNet, got Regression",
        ),
        (Task("worth"), FEW, {"method": MAML(1e30, steps=9)}, r"Adapting must stay finite, .* after inner step \d"),
        (Task("worth"), FEW, {"method": MAML(adapted=["body.*"])}, "`adapted` of MAML must match"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    single: MultiTaskModule, task: Task, rows: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        single.adapt(task, rows, **options)
