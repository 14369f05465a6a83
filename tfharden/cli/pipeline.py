"""The whole way: harden a teacher, distil a student, compress it, export both, attack everything, report.

tfharden-pipeline --dataset=digits --epsilon=0.15 --output_dir=saved_models/pipeline

Run again after a kill, it goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import tfharden as th
from tfharden.cli import config, runner
from tfharden.cli.export import calibration
from tfharden.cli.flag_fields import integer, number, part, string, switch
from tfharden.cli.progress import Progress
from tfharden.cli.resume import Stages, unfinished

if TYPE_CHECKING:
    import keras
    import numpy as np

# Probes of the report.
PROBES = ("curve", "confidence")

# Learning rates that suit Adam with a cosine schedule on the small reference models.
NATURAL_RATE, TEACHER_RATE, STUDENT_RATE, COMPRESSED_RATE = 1e-3, 3e-3, 5e-3, 3e-3
ARCHITECTURE, FEATURE = "cnn", "conv3"
# What is exported, and as what.
FILES = (("student", "float32"), ("student", "int8"), ("compressed", "int8"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What the flags ask for."""

    data: config.DataConfig = part(config.DataConfig)
    threat: config.ThreatConfig = part(config.ThreatConfig)
    attack: config.AttackConfig = part(config.AttackConfig)
    batch_size: int = integer(64, "Images a training step.", least=1)
    attack_steps: int = integer(7, "PGD steps that make a training example.", least=1)
    baseline_width: int = integer(48, "Channels of the baseline's first stage.", least=1)
    teacher_width: int = integer(48, "Channels of the teacher's first stage.", least=1)
    student_width: int = integer(16, "Channels of the student's first stage.", least=1)
    baseline_epochs: int = integer(15, "Passes over the training data for the baseline.", least=1)
    teacher_epochs: int = integer(40, "Passes over the training data for the teacher.", least=1)
    student_epochs: int = integer(80, "Passes over the training data for the student.", least=1)
    compressed_epochs: int = integer(25, "Passes over the training data for the compressed.", least=1)
    feature_weight: float = number(5.0, "Weight of the features in distillation; soft targets weigh 1.")
    calibration_examples: int = config.calibration_examples()
    output_dir: str = string("saved_models/pipeline", "Folder of models, files and report.")
    overwrite: bool = switch("Replace what stands at the output.")


@dataclasses.dataclass
class Pipeline:
    """The stages, on one dataset, in one folder."""

    config: Config
    dataset: th.data.Dataset
    threat: th.Threat
    attacks: list[th.attacks.Attack]
    stages: Stages

    def run(self) -> None:
        """All stages, each unless it is done."""
        attack = th.attacks.PGD(self.threat, steps=self.config.attack_steps)
        shared = {
            "data": th.data.sha256(self.dataset.train),
            "seed": self.config.data.seed,
            "batch_size": self.config.batch_size,
            "attack": attack.parameters(),
        }
        hardened = functools.partial(th.RobustModel, attack=attack, seed=self.config.data.seed)
        self._train("baseline", NATURAL_RATE, shared, lambda: th.RobustModel(self._built("baseline"), None))
        self._train("teacher", TEACHER_RATE, shared, lambda: hardened(self._built("teacher")))
        learned = shared | {
            "teacher": self.stages.digest("teacher.keras"),
            "feature_weight": self.config.feature_weight,
        }
        soft, feature = th.SoftTarget(), th.Feature(FEATURE, FEATURE, weight=self.config.feature_weight)
        taught = functools.partial(th.Distiller, attack=attack, seed=self.config.data.seed)
        self._train(
            "student",
            STUDENT_RATE,
            learned,
            lambda: taught(self._built("student"), self._load("teacher"), [soft, feature]),
        )
        # Soft targets alone: a feature's projection would have to be learned again, and disturb what was learned.
        calibrated = {"student": self.stages.digest("student.keras"), "examples": self.config.calibration_examples}
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
        return th.models.build(
            ARCHITECTURE, shape, classes, getattr(self.config, f"{name}_width"), seed=self.config.data.seed
        )

    def _quantized(self) -> keras.Model:
        """The student in fake int8, its ranges measured."""
        student = self._load("student")
        quantized = th.compression.quantize_aware(student)
        th.compression.calibrate(quantized, self._calibration(student))
        return quantized

    def _calibration(self, model: keras.Model) -> np.ndarray:
        return calibration(model, self.dataset, self.threat, self.config.calibration_examples, self.config.data.seed)

    def _train(self, name: str, rate: float, settings: dict, trainer: Callable[[], th.RobustModel]) -> None:
        budget = {
            "epochs": getattr(self.config, f"{name}_epochs"),
            "batch_size": self.config.batch_size,
            "learning_rate": rate,
        }
        width = {"width": getattr(self.config, f"{name}_width")} if hasattr(self.config, f"{name}_width") else {}

        def make() -> None:
            from tfharden.cli import training  # noqa: PLC0415 - it imports TensorFlow

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
        described = settings | {"models": models, "calibration_examples": self.config.calibration_examples}
        self.stages.run("export", described, names, make)

    def _evaluate(self) -> None:
        examples = self.config.data.test_examples(self.dataset)
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
                    seed=self.config.data.seed,
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


def main(config: Config) -> None:
    """Runs the stages that are not done yet, and prints the report's table."""
    threat, dataset = config.threat.within(config.data.input_range), config.data.load()
    attacks = config.attack.build_all(threat, config.data, dataset)
    config.data.test_examples(dataset)
    folder = pathlib.Path(config.output_dir)
    Pipeline(config, dataset, threat, attacks, Stages(folder, config.overwrite)).run()
    report = folder / "report" / "report.json"
    print(th.Report.load(report).table())
    print(f"\nreport: {report.with_suffix('.html')}")


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
