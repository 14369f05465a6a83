"""One student of twenty classes, unlabelled, from a teacher of MNIST's digits and one of Fashion-MNIST's garments."""

import json

import keras
import numpy as np

import tfharden as th
from benchmarks.common.recipe_table import FIGURES
from tfharden import _io
from tfharden.data.examples import Examples
from tfharden.hardening import shuffled

MODEL, EPOCHS, BATCH, RATE, TEMPERATURE = "strided", 5, 128, 2e-3, 4.0
# At its teachers' width the student of both stayed 1.1 and 1.8 points below the teacher of garments.
TEACHERS_WIDTH, STUDENTS_WIDTH = 16, 32
CLASSES = {
    "mnist": [f"digit {index}" for index in range(10)],
    "fashion_mnist": ["top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"],
}


def _train(trainer: th.RobustModel, examples: tuple[np.ndarray, np.ndarray | None], seed: int, epochs: int) -> None:
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * -(-len(examples[0]) // BATCH))
    trainer.compile(keras.optimizers.Adam(rate))
    trainer.fit(shuffled(examples, BATCH, trainer, seed), epochs=epochs, shuffle=False, verbose=2)


def _accuracy(model: keras.Model, images: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(th.KerasClassifier(model).predict(images) == y))


def kept(sets: dict[str, tuple[Examples, Examples]], seed: int) -> list[list[str]]:
    """`rows`, kept with the project, so that a benchmark that was killed goes on."""
    path, settings = (
        FIGURES / "merging" / f"{seed}.json",
        [MODEL, TEACHERS_WIDTH, STUDENTS_WIDTH, EPOCHS, BATCH, RATE, TEMPERATURE],
    )
    if path.exists() and (told := json.loads(path.read_text()))["settings"] == settings:
        return told["rows"]
    found = rows(sets, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    _io.write_text(path, json.dumps({"settings": settings, "rows": found}, indent=1))
    return found


def rows(sets: dict[str, tuple[Examples, Examples]], seed: int) -> list[list[str]]:
    """The teachers, and students by where they get the domain from: accuracy on each domain, of all twenty classes.

    Args:
        sets: training and test examples by domain.
        seed: of everything.
    """
    teachers = {}
    for index, (domain, (train, _)) in enumerate(sets.items()):
        teachers[domain] = th.models.build(MODEL, (28, 28, 1), 10, TEACHERS_WIDTH, seed=2 * seed + index)
        teachers[domain].name = domain
        _train(th.RobustModel(teachers[domain]), train, seed, EPOCHS)
    images = np.concatenate([train[0] for train, _ in sets.values()])
    domains = np.repeat(np.arange(len(sets), dtype=np.int32), [len(train[1]) for train, _ in sets.values()])
    found = [["teachers", *(f"{_accuracy(teachers[d], *sets[d][1]):.1%}" for d in sets), ""]]
    for source, y in {"stream": domains, "confidence": None}.items():
        merged = th.LabelMap(teachers, CLASSES, domain_from=source, temperature=TEMPERATURE)
        student = th.models.build(MODEL, (28, 28, 1), 20, STUDENTS_WIDTH, seed=seed + 10)
        _train(th.Distiller(student, merged, th.SoftTarget(TEMPERATURE), seed=seed), (images, y), seed, EPOCHS)
        scores, right = [], []
        for domain, (_, (x, labels)) in sets.items():
            scores.append(f"{_accuracy(student, x, merged.merged_labels(domain, labels)):.1%}")
            told = merged.domain_of[th.KerasClassifier(student).predict(x)]
            right.append(np.mean(told == merged.domains.index(domain)))
        found.append([f"student, domain from the {source}", *scores, f"{np.mean(right):.1%}"])
    return found
