"""Square on an int8 file: how much of its time the interpreter takes, and ART's Square on the same interpreter."""

import statistics
import time

import numpy as np

import tfharden as th
from benchmarks.common import tables
from benchmarks.tflite import exactness
from tfharden import tflite

EPSILON, WIDTH = 0.1, 16
COLUMNS = ("attack", "s", "robust accuracy", "inside the interpreter", "time in that of ART")


class Clock:
    """Adds up the time that a runtime spends in its interpreters."""

    def __init__(self, runtime: tflite.Runtime) -> None:
        self.seconds = 0.0
        self._predict_raw = runtime.predict_raw
        runtime.predict_raw = self._timed

    def _timed(self, stored: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        outputs = self._predict_raw(stored)
        self.seconds += time.perf_counter() - began
        return outputs


def part(dataset: th.data.Dataset, images: int, queries: int, rounds: int, seed: int) -> list[str]:
    """The table."""
    import peers  # noqa: PLC0415 - optional: it needs what the extra `bench` installs

    model = exactness.trained("cnn", dataset, seed, WIDTH)
    file = th.export.to_tflite(model, "int8", dataset.train[0], least_agreement=0).file
    classifier = th.TFLiteClassifier(file, threads=1)
    clock = Clock(classifier.runtime)
    x, y = (values[:images] for values in dataset.test)
    square = th.attacks.Square(th.Linf(EPSILON), queries=queries, seed=seed)
    runs = {"tfharden": lambda: square(classifier, x, y).adversarial}
    runs["ART"] = lambda: art_square(classifier, x, y, queries)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    inside: dict[str, list[float]] = {name: [] for name in runs}
    robust = {}
    for _ in range(rounds):
        for name, run in runs.items():
            peers.seed_all(seed)
            clock.seconds, began = 0.0, time.perf_counter()
            adversarial = run()
            seconds[name].append(time.perf_counter() - began)
            inside[name].append(clock.seconds / seconds[name][-1])
            robust[name] = robust_accuracy(classifier, x, adversarial, y)
    rows = []
    for name, times in seconds.items():
        ratio = statistics.median(spent / base for spent, base in zip(times, seconds["ART"], strict=True))
        share = statistics.median(inside[name])
        rows.append(
            [
                name,
                f"{statistics.median(times):.2f}",
                f"{100 * robust[name]:.1f}",
                f"{100 * share:.0f}%",
                f"{ratio:.2f}",
            ]
        )
        print(rows[-1], flush=True)
    about = (
        f"{images} images, {queries:,} queries, Linf {EPSILON:g}, int8 file of a cnn of width {WIDTH}, one thread, in",
        "turns, medians. What lies outside ball or box is no success. ART runs SquareAttack over",
        "BlackBoxClassifierNeuralNetwork on the same interpreter, for as many iterations. The goals are 70% inside the",
        "interpreter, and 0.4 of ART's time.",
    )
    return ["## Square", "", *about, "", *tables.table(COLUMNS, *rows), ""]


def art_square(classifier: th.Classifier, x: np.ndarray, y: np.ndarray, queries: int) -> np.ndarray:
    """ART's Square with its defaults, all images in one batch."""
    from art.attacks.evasion import SquareAttack  # noqa: PLC0415 - optional
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # noqa: PLC0415 - optional

    estimator = BlackBoxClassifierNeuralNetwork(
        classifier.logits, x.shape[1:], classifier.num_classes, channels_first=False, clip_values=(0, 1)
    )
    attack = SquareAttack(estimator, eps=EPSILON, max_iter=queries, batch_size=len(x), verbose=False)
    return attack.generate(x, np.eye(classifier.num_classes, dtype=np.float32)[y])


def robust_accuracy(classifier: th.Classifier, x: np.ndarray, adversarial: np.ndarray, y: np.ndarray) -> float:
    """Share of images that are right, both clean and, where the perturbation is allowed, perturbed."""
    distance = np.abs(adversarial - x).reshape(len(x), -1).max(axis=1)
    boxed = ((adversarial >= -1e-6) & (adversarial <= 1 + 1e-6)).reshape(len(x), -1).all(axis=1)
    allowed = (distance <= EPSILON + 1e-5) & boxed
    right = classifier.predict(adversarial) == y
    return float(((classifier.predict(x) == y) & (right | ~allowed)).mean())
