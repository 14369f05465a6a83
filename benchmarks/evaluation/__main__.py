"""Memory of `tfharden-evaluate` by the number of images, each in a process of its own.

python -m benchmarks.evaluation --data=fashion_mnist

The model is a small MLP, or else 60,000 images would take an hour; what is kept of an image doesn't depend on it.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

from benchmarks.common import tables

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_list("counts", ["1000", "10000", "60000"], "Numbers of images.")
flags.DEFINE_float("epsilon", 0.1, "Radius.")

TRAINING = ["--model=mlp", "--width=128", "--objective=fast", "--epochs=2", "--batch_size=128"]
SETTINGS = ["--attacks=fgsm,pgd,square", "--steps=5", "--queries=20"]


def tool(name: str) -> str:
    return str(pathlib.Path(sys.executable).with_name(name))


def measured(given: list[str], out: pathlib.Path) -> tuple[float, float]:
    """Megabytes that were resident at most, and seconds, of one evaluation."""
    evaluate = tool("tfharden-evaluate")
    began = time.monotonic()
    process = os.posix_spawn(evaluate, [evaluate, *given, *SETTINGS, f"--output_dir={out}"], os.environ)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{evaluate} ended with status {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss / 1024, time.monotonic() - began


def main(argv: list[str]) -> None:
    """One table."""
    del argv
    dataset = tables.dataset(FLAGS.data)
    x, y = (np.concatenate(parts) for parts in zip(dataset.test, dataset.train, strict=True))
    size = x[0].nbytes / 2**20
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data, model = pathlib.Path(folder) / "data.npz", pathlib.Path(folder) / "model.keras"
        np.savez(data, x_train=dataset.test[0][:1000], y_train=dataset.test[1][:1000], x_test=x, y_test=y)
        shared = [f"--epsilon={FLAGS.epsilon}", f"--model={model}"]
        training = [*TRAINING, f"--epsilon={FLAGS.epsilon}", f"--dataset={tables.named(FLAGS.data)}"]
        subprocess.run([tool("tfharden-harden"), *training, f"--output={model}"], check=True)
        for count in map(int, FLAGS.counts):
            given = [*shared, f"--dataset=npz:{data}", f"--num_examples={count}"]
            most, seconds = measured(given, pathlib.Path(folder) / f"{count}")
            rows.append([f"{count:,}", f"{most:,.0f}", f"{count * size:,.0f}", f"{seconds:.0f}"])
            print(rows[-1], flush=True)
    lines = [
        *tables.header("Memory of an evaluation", f"-m benchmarks.evaluation --data={FLAGS.data}"),
        f"`tfharden-evaluate {' '.join(SETTINGS)}`, Linf {FLAGS.epsilon:g}, of what",
        f"`tfharden-harden {' '.join(TRAINING)}` makes, in a process of its own for each row; all",
        f"read the same file of {len(y):,} images, {len(y) * size:,.0f} MB as float32. The most that was resident.",
        "",
        *tables.table(["images", "MB", "MB of the images themselves", "seconds"], *rows),
        "",
    ]
    tables.write("evaluation_memory.md", lines)


if __name__ == "__main__":
    app.run(main)
