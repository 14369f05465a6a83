"""Trainers timed in turns, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Run = Callable[[], None]


def timed(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run in each round, after one that compiles."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(rounds):
        for label, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[label].append(time.perf_counter() - began)
    return seconds


def row(label: str, seconds: Mapping[str, Sequence[float]], floors: Sequence[str], images: int) -> list[str]:
    """Images a second, and the speed in that of each floor in the same turn; medians over the turns."""
    times = seconds[label]
    ratios = [
        f"{statistics.median(base / spent for base, spent in zip(seconds[floor], times, strict=True)):.2f}"
        for floor in floors
    ]
    found = [label, f"{images / statistics.median(times):,.0f}", *ratios]
    print(found, flush=True)
    return found
