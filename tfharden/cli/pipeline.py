"""The whole way: harden a teacher, distil a student, compress it, export both, attack everything, report.

tfharden-pipeline --dataset=digits --epsilon=0.15 --output_dir=saved_models/pipeline

Run again after a kill, it goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from absl import flags

import tfharden as th
from tfharden.cli import options, runner, training
from tfharden.cli.export import calibration, define_calibration
from tfharden.cli.progress import Progress
from tfharden.cli.stages import Stages, unfinished

if TYPE_CHECKING:
    import keras
    import numpy as np

FLAGS = flags.FLAGS
# What the report tells beside accuracy under attack.
PROBES = ("curve", "confidence")

# Learning rates that suit Adam with a cosine schedule on the small reference models.
NATURAL_RATE, TEACHER_RATE, STUDENT_RATE, COMPRESSED_RATE = 1e-3, 3e-3, 5e-3, 3e-3
ARCHITECTURE, FEATURE = "cnn", "conv3"
# What is exported, and as what.
FILES = (("student", "float32"), ("student", "int8"), ("compressed", "int8"))


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_attacks()
    flags.DEFINE_integer("batch_size", 64, "Images a training step.", lower_bound=1)
    flags.DEFINE_integer("attack_steps", 7, "PGD steps that make a training example.", lower_bound=1)
    for name, width in (("baseline", 48), ("teacher", 48), ("student", 16)):
        flags.DEFINE_integer(f"{name}_width", width, f"Channels of the {name}'s first stage.", lower_bound=1)
    for name, epochs in (("baseline", 15), ("teacher", 40), ("student", 80), ("compressed", 25)):
        flags.DEFINE_integer(f"{name}_epochs", epochs, f"Passes over the training data for the {name}.", lower_bound=1)
    options.define_number("feature_weight", 5.0, "Weight of the features in distillation; soft targets weigh 1.")
    define_calibration()
    flags.DEFINE_string("output_dir", "saved_models/pipeline", "Folder of models, files and report.")
    options.define_overwrite()


@dataclasses.dataclass
class Pipeline:
    """The stages, on one dataset, in one folder."""

    dataset: th.data.Dataset
    threat: th.Threat
    attacks: list[th.attacks.Attack]
    stages: Stages

    def run(self) -> None:
        """All stages, each unless it is done."""
        attack = th.attacks.PGD(self.threat, steps=FLAGS.attack_steps)
        shared = {
            "data": th.data.sha256(self.dataset.train),
            "seed": FLAGS.seed,
            "batch_size": FLAGS.batch_size,
            "attack": attack.parameters(),
        }
        hardened = functools.partial(th.RobustModel, attack=attack, seed=FLAGS.seed)
        self._train("baseline", NATURAL_RATE, shared, lambda: th.RobustModel(self._built("baseline"), None))
        self._train("teacher", TEACHER_RATE, shared, lambda: hardened(self._built("teacher")))
        learned = shared | {"teacher": self.stages.digest("teacher.keras"), "feature_weight": FLAGS.feature_weight}
        soft, feature = th.SoftTarget(), th.Feature(FEATURE, FEATURE, weight=FLAGS.feature_weight)
        taught = functools.partial(th.Distiller, attack=attack, seed=FLAGS.seed)
        self._train(
            "student",
            STUDENT_RATE,
            learned,
            lambda: taught(self._built("student"), self._load("teacher"), [soft, feature]),
        )
        # Soft targets alone: a feature's projection would have to be learned again, and disturb what was learned.
        calibrated = {"student": self.stages.digest("student.keras"), "examples": FLAGS.calibration_examples}
        self._train(
            "compressed",
            COMPRESSED_RATE,
            learned | calibrated,
            lambda: taught(self._quantized(), self._load("teacher"), [soft]),
        )
        self._export(shared)
        self._evaluate()

    def _load(self, name: str) -> keras.Model:
        return th.load_model(self.stages.folder / f"{name}.keras")

    def _built(self, name: str) -> keras.Model:
        """Seeded here, so that a stage gives the same whether or not others ran before it in this process."""
        shape, classes = self.dataset.input_shape, self.dataset.num_classes
        return th.models.build(ARCHITECTURE, shape, classes, FLAGS[f"{name}_width"].value, seed=FLAGS.seed)

    def _quantized(self) -> keras.Model:
        """The student in fake int8, its ranges measured."""
        student = self._load("student")
        quantized = th.compression.quantize_aware(student)
        th.compression.calibrate(quantized, self._calibration(student))
        return quantized

    def _calibration(self, model: keras.Model) -> np.ndarray:
        return calibration(model, self.dataset, self.threat, FLAGS.calibration_examples, FLAGS.seed)

    def _train(self, name: str, rate: float, settings: dict, trainer: Callable[[], th.RobustModel]) -> None:
        budget = {"epochs": FLAGS[f"{name}_epochs"].value, "batch_size": FLAGS.batch_size, "learning_rate": rate}
        width = {"width": FLAGS[f"{name}_width"].value} if f"{name}_width" in FLAGS else {}

        def make() -> None:
            made = trainer()
            training.train(made, self.dataset.train, f"train the {name}", **budget)
            training.save_model(made.model, self.stages.folder / f"{name}.keras")

        described = settings | budget | width | {"architecture": ARCHITECTURE}
        self.stages.run(f"train the {name}", described, [f"{name}.keras"], make)

    def _export(self, settings: dict) -> None:
        names = [f"{model}_{recipe}.tflite" for model, recipe in FILES]

        def make() -> None:
            with Progress("export") as progress:
                for done, ((name, recipe), file) in enumerate(zip(FILES, names, strict=True), start=1):
                    model = self._load(name)
                    artifact = th.export.to_tflite(model, recipe, self._calibration(model), self.dataset.bounds)
                    artifact.save(self.stages.folder / file)
                    progress(done / len(FILES), f"{file} agrees on {artifact.agreement:.1%}")

        models = {name: self.stages.digest(f"{name}.keras") for name, _ in FILES}
        described = settings | {"models": models, "calibration_examples": FLAGS.calibration_examples}
        self.stages.run("export", described, names, make)

    def _evaluate(self) -> None:
        examples = options.test_examples(self.dataset)
        names = [f"{name}.keras" for name in ("baseline", "teacher", "student", "compressed")]
        names += [f"{model}_{recipe}.tflite" for model, recipe in FILES]

        def make() -> None:
            with unfinished(self.stages.folder) as checkpoint, Progress("evaluate") as progress:
                report = th.evaluate(
                    [self.stages.folder / name for name in names],
                    examples,
                    self.threat,
                    self.attacks,
                    probes=PROBES,
                    data_name=self.dataset.name,
                    seed=FLAGS.seed,
                    checkpoints=checkpoint,
                    progress=progress.part,
                )
                report.save(self.stages.folder / "report")

        described = {
            "data": th.data.sha256(examples),
            "models": {name: self.stages.digest(name) for name in names},
            "attacks": [attack.parameters() | {"name": attack.name} for attack in self.attacks],
            "probes": PROBES,
        }
        outputs = [f"report/report.{kind}" for kind in ("json", "csv", "html")]
        self.stages.run("evaluate", described, outputs, make)


def main() -> None:
    """What the flags ask for."""
    threat, dataset = options.threat(), options.dataset()
    attacks = options.chosen_attacks(dataset)
    options.test_examples(dataset)
    folder = pathlib.Path(FLAGS.output_dir)
    Pipeline(dataset, threat, attacks, Stages(folder, FLAGS.overwrite)).run()
    report = folder / "report" / "report.json"
    print(th.Report(json.loads(report.read_text(encoding="utf-8"))).table())
    print(f"\nreport: {report.with_suffix('.html')}")


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
