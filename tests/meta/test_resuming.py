"""A resumed run goes on with the episodes of its checkpoint, or says where they differ."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Task
from lightning_mtl.families import Harmonic, Sinusoid
from lightning_mtl.meta._family_episodes import FamilyEpisodes
from lightning_mtl.meta._resuming import facts_of
from tests.meta.episodes import QUIET, for_rows, of_rows

ROWS = [{"x": [float(i % 6), float(i)], "kind": "abcdef"[i % 6]} for i in range(60)]
SETTINGS: dict[str, Any] = {"ways": 3, "shots": 2, "queries": 4, "episodes": 3, "steps_per_epoch": 4}


def made(seed: int | None, sources: Any = ROWS, **settings: Any) -> EpisodeDataModule:
    data = EpisodeDataModule({"s": sources}, seed=seed, summary=False, **{**SETTINGS, **settings})
    task = Task("kind") if isinstance(sources, list) else Task("kind", "s")
    data.setup_for(MetaLearningModule([task], HardSharing(nn.Linear(2, 4), width=4)), "fit")
    return data


def drawn(data: EpisodeDataModule) -> list[torch.Tensor]:
    return [batch["s"]["support"]["x"] for batch in data.train_dataloader()]


def state_after(steps: int, data: EpisodeDataModule) -> dict[str, Any]:
    batches = iter(data.train_dataloader())
    for _ in range(steps):
        next(batches)
    return data.state_dict()


def test_the_seed_of_the_checkpoint_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(3)
    whole = [*drawn(first), *drawn(first)]
    state = state_after(2, made(3))
    monkeypatch.setenv("PL_GLOBAL_SEED", "9")
    again = made(None)
    again.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(drawn(again), whole[2:6], strict=True))
    assert again.state_dict()["seed"] == 3
    given = made(4)
    given.load_state_dict(state)
    with pytest.warns(UserWarning, match="Episodes go on with the seed 3 of the checkpoint, `seed` is 4"):
        assert torch.equal(drawn(given)[0], whole[2])


def test_an_earlier_checkpoint_still_opens() -> None:
    again = made(3)
    again.load_state_dict({"delivered": 2})
    assert torch.equal(drawn(again)[0], drawn(made(3))[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ways": 2}, "ways of source 's': 2 today and 3 in the checkpoint"),
        ({"shots": (1, 2)}, r"shots of source 's': \[1, 2\] today and \[2, 2\]"),
        ({"queries": 5}, "queries of source 's': 5 today and 4"),
        ({"episodes": 4}, "episodes of a step on all processes: 4 today and 3"),
        ({"balanced": False}, "balanced of source 's': False today and True"),
        ({"sources": ROWS[:54]}, "rows of source 's': 54 today and 60"),
    ],
)
def test_other_episodes_are_refused(change: dict[str, Any], said: str) -> None:
    other = made(3, **change)
    other.load_state_dict(state_after(2, made(3)))
    with pytest.raises(ValueError, match=f"of the same episodes to go on with them, got {said}"):
        other.train_dataloader()


def test_other_functions_are_refused() -> None:
    def facts(family: Any) -> Any:
        return facts_of({"w": FamilyEpisodes(family, (2, 2), 3, Task("y"), 0)}, 4)

    assert facts(Sinusoid()) == facts(Sinusoid())
    assert facts(Sinusoid()) != facts(Harmonic())


def test_a_second_fit_of_one_trainer_goes_on_with_new_episodes() -> None:
    """As the unbroken run does; another Trainer begins anew."""
    ended = []
    for ends in ([4], [2, 4], [2]):
        module, data = for_rows(), of_rows()
        run = L.Trainer(max_epochs=ends[0], **QUIET)
        for end in ends:
            run.fit_loop.max_epochs = end
            run.fit(module, data)
        if ends == [2]:
            L.Trainer(max_epochs=2, **QUIET).fit(module, data)
        ended.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(ended[0], ended[1])
    assert not torch.equal(ended[0], ended[2])
