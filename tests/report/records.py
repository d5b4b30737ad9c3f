"""Records of two runs of five tasks, and of a comparison, that fill every figure of a report."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

from lightning_mtl.comparison import ArmCost, Comparison, Cost, TaskComparison

TASKS: dict[str, tuple[str, int, int]] = {
    "part of speech": ("accuracy", 1, 38_016),
    "chunks": ("span_f1", 1, 8_936),
    "entities": ("span_f1", 1, 14_041),
    "<b>stance</b> & $mood$": ("f1", 1, 412),
    "relatedness": ("mse", -1, 4_439),
}
"""Of each task its metric, the metric's direction, and its training rows."""
NAMES = list(TASKS)
STEPS = list(range(100, 3001, 100))
ENDS = [0, 600, 1200, 1800, 2400, 3000]


def score(task: int, step: int, lost: float, noise: random.Random) -> float:
    """A task's score: it is learned in its stage, and lost again afterwards."""
    best, begun, over = 0.86 - 0.07 * task, ENDS[task], ENDS[task + 1]
    learned = 1 - math.exp(-max(0, min(step, over) - begun) / 150)
    kept = 1 - lost * (1 - math.exp(-max(0, step - over) / 400))
    return 0.25 + (best - 0.25) * learned * kept + noise.gauss(0, 0.006)


def run(lost: float, seed: int) -> dict[str, Any]:
    """A run of one task after the other, that loses this share of what it has learned."""
    noise = random.Random(seed)
    scores = [[score(task, step, lost, noise) for task in range(5)] for step in STEPS]
    series: dict[str, list[list[float]]] = {}
    for i, (name, (metric, sign, rows)) in enumerate(TASKS.items()):
        own = [row[i] for row in scores]
        overfits = 0.9 if rows < 1000 else 0.05
        held = [1.9 * (1 - s) + overfits * (t / 3000) ** 2 for s, t in zip(own, STEPS, strict=True)]
        series |= {
            f"train/{name}/loss": [[t, 1.7 * (1 - s) * (1 - 0.3 * t / 3000)] for s, t in zip(own, STEPS, strict=True)],
            f"validate/{name}/loss": [[t, loss] for loss, t in zip(held, STEPS, strict=True)],
            f"train/{name}/{metric}": [[t, (s if sign > 0 else 1 - s)] for s, t in zip(own, STEPS, strict=True)],
            f"validate/{name}/{metric}": [
                [t, (s if sign > 0 else 1 - s) - sign * 0.03] for s, t in zip(own, STEPS, strict=True)
            ],
            f"train/{name}/rate": [
                [t, (0.8 if ENDS[i] < t <= ENDS[i + 1] else 0.05) if seed else float(ENDS[i] < t <= ENDS[i + 1])]
                for t in STEPS
            ],
            f"train/{name}/loss_weight": [[t, 0.5 + 0.4 * math.sin(t / 500 + i)] for t in STEPS],
            f"train/{name}/loss_share": [[t, 0.2 + 0.1 * math.sin(t / 700 + 2 * i)] for t in STEPS],
        }
    return {
        "tasks": [{"name": name, "metric": m, "sign": sign, "rows": rows} for name, (m, sign, rows) in TASKS.items()],
        "series": series,
        "stages": [{"name": n, "start": a, "end": b} for n, (a, b) in zip(NAMES, pairwise(ENDS), strict=True)],
        "levels": LEVELS,
        "draws": {"steps": 3000, "sources": draws(seed)},
        "monitors": {
            "ForgettingMonitor": forgetting(scores),
            "TransferMonitor": transfer(noise),
            "ConflictMonitor": conflict(noise),
            "GapMonitor": gaps(series),
            "TaskEarlyStopping": {"tasks": NAMES, "stopped": {NAMES[3]: 2300}, "best": {}, "action": "freeze"},
        },
    }


LEVELS = [
    {"name": "0 (embeddings)", "share": 0.0, "parameters": 4_000_000, "tasks": []},
    {"name": "1 (words)", "share": 0.31, "parameters": 800_000, "tasks": NAMES[:1]},
    {"name": "2 (phrases)", "share": 0.27, "parameters": 700_000, "tasks": NAMES[1:3]},
    {"name": "3 (sentences)", "share": 0.42, "parameters": 900_000, "tasks": NAMES[3:]},
]


def draws(seed: int) -> dict[str, Any]:
    counts = {name: 19_200 + 1_300 * seed * i for i, name in enumerate(NAMES)}
    return {name: {"rows": TASKS[name][2], "drawn": n, "passes": n / TASKS[name][2]} for name, n in counts.items()}


def forgetting(scores: list[list[float]]) -> dict[str, Any]:
    alarms: list[dict[str, Any]] = []
    for i, name in enumerate(NAMES):
        best = 0.0
        for step, row in zip(STEPS, scores, strict=True):
            best = max(best, row[i])
            if best - row[i] > 0.05 and not any(alarm["task"] == name for alarm in alarms):
                drop = {"drop": best - row[i], "tolerance": 0.05, "safe": f"checkpoints/step={step - 100}.ckpt"}
                alarms.append({"task": name, "step": step, **drop})
    matrix = [scores[STEPS.index(end)] for end in ENDS[1:]]
    lost = sum(max(row[i] for row in matrix) - matrix[-1][i] for i in range(4)) / 4
    return {
        "tasks": NAMES,
        "higher": [True] * 5,
        "steps": STEPS,
        "scores": scores,
        "alarms": alarms,
        "stages": NAMES,
        "matrix": matrix,
        "initial": [0.25] * 5,
        "figures": {"forgetting": lost, "backward_transfer": -lost * 0.9, "forward_transfer": None},
        "best": {"tasks": NAMES, "steps": ENDS[1:], "matrix": matrix, "paths": [None] * 5},
    }


def transfer(noise: random.Random) -> dict[str, Any]:
    means = [[0.0004 * (3 - abs(i - j)) + noise.gauss(0, 0.0004) for j in range(5)] for i in range(5)]
    means[3][0] = -0.0031
    return {
        "tasks": NAMES,
        "affinity": means,
        "error": [[0.0003] * 5 for _ in range(5)],
        "probes": 30,
        "groups": {"2": [NAMES[:3], NAMES[3:]], "3": [NAMES[:2], NAMES[2:3], NAMES[3:]]},
    }


def conflict(noise: random.Random) -> dict[str, Any]:
    cosines = [[1.0 if i == j else 0.3 - 0.12 * abs(i - j) for j in range(5)] for i in range(5)]
    rates = [[0.0 if i == j else 0.2 + 0.14 * abs(i - j) for j in range(5)] for i in range(5)]
    history = [
        {"step": step, "cosine": [[value + noise.gauss(0, 0.05) for value in row] for row in cosines]}
        for step in range(50, 3001, 50)
    ]
    looks = [[60] * 5 for _ in range(5)]
    return {
        "tasks": NAMES,
        "cosine": cosines,
        "magnitude_similarity": [[0.5] * 5 for _ in range(5)],
        "conflict_rate": rates,
        "looks": looks,
        "history": history,
    }


def gaps(series: dict[str, Any]) -> dict[str, Any]:
    train, held = (
        [[series[f"{stage}/{name}/loss"][k][1] for name in NAMES] for k in range(len(STEPS))]
        for stage in ("train", "validate")
    )
    alarm = {"task": NAMES[3], "step": 2300, "gap": 0.84, "rise": 0.31, "tolerance": 0.1}
    return {"tasks": NAMES, "steps": STEPS, "train": train, "validate": held, "alarms": [alarm]}


def comparison() -> dict[str, Any]:
    """A comparison over five seeds, with a third arm."""
    noise = random.Random(7)
    gained, own = (0.012, 0.021, 0.002, -0.035, 0.0), (0.0, 0.011, -0.002, 0.03, 0.012)
    tasks = []
    for i, (name, (metric, sign, _)) in enumerate(TASKS.items()):
        single = [0.8 - 0.06 * i + noise.gauss(0, 0.008) for _ in range(5)]
        multi = [value + sign * gained[i] + noise.gauss(0, 0.004) for value in single]
        two_stage = [value + sign * own[i] + noise.gauss(0, 0.004) for value in multi]
        tasks.append(TaskComparison(name, metric, sign, tuple(single), tuple(multi), tuple(two_stage)))
    costs = {"single-task": cost(1510.0, 32_000_000), "multi-task": cost(402.0, 6_400_000)}
    costs["two-stage"] = cost(760.0, 32_000_000)
    return Comparison((0, 1, 2, 3, 4), tuple(tasks), costs=costs).record()


def cost(seconds: float, parameters: int) -> ArmCost:
    size = 4 * parameters
    return ArmCost(((Cost(seconds, parameters, size, size, 2 * size, None, "here"),),))


def records() -> dict[str, dict[str, Any]]:
    """Two runs: one forgets, one does not."""
    return {"one after another": run(0.7, 0), "with replay": run(0.08, 1)}
