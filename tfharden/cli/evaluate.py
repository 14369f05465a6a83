"""Attacks models and files, and writes report.json, report.csv and report.html.

tfharden-evaluate --model=saved_models/student.keras --model=saved_models/student_int8.tflite --attacks=fgsm,pgd,square

Files are attacked by the gradients of their twins. Probes stand among the attacks (--attacks=pgd,curve,confidence).
--transfer=pgd tries what was made on each model on all the others, --source=student.keras sets models beside the one
that they were made from. Killed, the same command goes on: no image is attacked twice.
"""

import dataclasses
import pathlib

import tfharden as th
from tfharden.cli import choices, config, runner
from tfharden.cli.checks import check_output
from tfharden.cli.flag_fields import choice, part, string, strings, switch
from tfharden.cli.progress import Progress
from tfharden.cli.resume import unfinished


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What the flags ask for."""

    data: config.DataConfig = part(config.DataConfig)
    threat: config.ThreatConfig = part(config.ThreatConfig)
    attack: config.AttackAndProbeConfig = part(config.AttackAndProbeConfig)
    model: tuple[str, ...] = strings("A .keras or .tflite file; may be given several times.", required=True)
    surrogate: str | None = string(
        None,
        "A .keras file whose adversarial examples those models get that give no gradients; the last --model that does "
        "if none.",
    )
    source: str | None = string(
        None,
        "A .keras or .tflite file that the models were made from: how each falls beside it, and what fools it alone.",
    )
    transfer: str | None = string(
        None,
        "Attack whose examples are tried on every other model; none by default.",
        lambda name: name is None or choices.is_attack(name),
        f"known are {choices.KNOWN_ATTACKS}",
    )
    kernels: str = choice("xnnpack", choices.KERNELS, "Kernels that run .tflite files.")
    tensorboard_dir: str | None = config.tensorboard_dir()
    output_dir: str = string("saved_models/report", "Folder of the report.")
    overwrite: bool = switch("Replace what stands at the output.")


def main(config: Config) -> None:
    """Evaluates, and writes the report."""
    output = pathlib.Path(config.output_dir)
    check_output(output / "report.json", overwrite=config.overwrite)
    if config.tensorboard_dir:
        th.evaluation.check_tensorboard()
    threat = config.threat.within(config.data.input_range)
    models = [th.as_classifier(path, threat.bounds, kernels=config.kernels) for path in config.model]
    dataset = config.data.load()
    with unfinished(output) as checkpoint, Progress("evaluate") as progress:
        report = th.evaluate(
            models,
            config.data.test_examples(dataset),
            threat,
            config.attack.build_all(threat, config.data, dataset),
            transfer=config.transfer and config.attack.build(config.transfer, threat, config.data, dataset),
            probes=config.attack.probes,
            surrogate=config.surrogate,
            source=config.source,
            data_name=config.data.dataset,
            seed=config.data.seed,
            checkpoints=checkpoint,
            progress=progress.part,
        )
        report.save(output)
    if config.tensorboard_dir:
        th.evaluation.write_tensorboard(report, config.tensorboard_dir)
    print(report.table())
    print(f"\nreport: {output / 'report.html'}")


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
