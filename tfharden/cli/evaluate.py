"""Attacks models and files, and writes report.json, report.csv and report.html.

tfharden-evaluate --model=saved_models/student.keras --model=saved_models/student_int8.tflite --attacks=fgsm,pgd,square

Files are attacked by the gradients of their twins. Probes stand among the attacks (--attacks=pgd,curve,confidence).
--transfer=pgd tries what was made on each model on all the others, --source=student.keras sets models beside the one
that they were made from. Killed, the same command goes on: no image is attacked twice.
"""

import pathlib

from absl import flags

import tfharden as th
from tfharden.cli import options, runner
from tfharden.cli.progress import Progress
from tfharden.cli.stages import unfinished

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_attacks(probes=th.evaluation.PROBES)
    flags.DEFINE_multi_string("model", None, "A .keras or .tflite file; may be given several times.", required=True)
    flags.DEFINE_string(
        "surrogate",
        None,
        "A .keras file whose adversarial examples those models get that give no gradients; the last --model that does "
        "if none.",
    )
    flags.DEFINE_string(
        "source",
        None,
        "A .keras or .tflite file that the models were made from: how each falls beside it, and what fools it alone.",
    )
    flags.DEFINE_string("transfer", None, "Attack whose examples are tried on every other model; none by default.")
    flags.register_validator(
        "transfer", lambda name: name is None or th.attacks.is_known(name), f"known are {th.attacks.KNOWN}"
    )
    flags.DEFINE_enum("kernels", "xnnpack", list(th.tflite.KERNELS), "Kernels that run .tflite files.")
    options.define_tensorboard()
    flags.DEFINE_string("output_dir", "saved_models/report", "Folder of the report.")
    options.define_overwrite()


def main() -> None:
    """What the flags ask for."""
    options.check_output(pathlib.Path(FLAGS.output_dir) / "report.json")
    options.check_tensorboard()
    threat = options.threat()
    models = [th.as_classifier(path, threat.bounds, kernels=FLAGS.kernels) for path in FLAGS.model]
    dataset = options.dataset()
    with unfinished(FLAGS.output_dir) as checkpoint, Progress("evaluate") as progress:
        report = th.evaluate(
            models,
            options.test_examples(dataset),
            threat,
            options.chosen_attacks(dataset),
            transfer=FLAGS.transfer and options.attack(FLAGS.transfer, dataset),
            probes=[name for name in FLAGS.attacks if name in th.evaluation.PROBES],
            surrogate=FLAGS.surrogate,
            source=FLAGS.source,
            data_name=FLAGS.dataset,
            seed=FLAGS.seed,
            checkpoints=checkpoint,
            progress=progress.part,
        )
        report.save(FLAGS.output_dir)
    if FLAGS.tensorboard_dir:
        th.evaluation.write_tensorboard(report, FLAGS.tensorboard_dir)
    print(report.table())
    print(f"\nreport: {pathlib.Path(FLAGS.output_dir) / 'report.html'}")


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
