"""Makes C++ sources for tflite-micro of an int8 .tflite file, with golden vectors from a dataset's test images.

tfharden-mcu --model=saved_models/student_int8.tflite --output_dir=saved_models/mcu_kit

With the extra tfharden[micro], the arena is measured, and tflite-micro runs the images beside LiteRT.
"""

from absl import flags

import tfharden as th
from tfharden.cli import options, runner
from tfharden.cli.progress import Progress

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    flags.DEFINE_string("model", None, "A .tflite file, integers throughout.", required=True)
    flags.DEFINE_string("output_dir", "saved_models/mcu_kit", "Folder of the kit, new or empty.")
    options.define_overwrite()


def main() -> None:
    """What the flags ask for."""
    dataset = options.dataset()
    with Progress("mcu kit") as progress:
        images, _ = options.test_examples(dataset)
        kit = th.export.mcu_kit(FLAGS.model, images, FLAGS.output_dir, overwrite=FLAGS.overwrite)
        progress(1.0)
    print(f"{kit.folder}: reserves an arena of {kit.arena_bytes / 1024:.0f} KB")
    if kit.arena and kit.agreement:
        counts = f"{kit.agreement.identical} to the bit, {kit.agreement.same_class} by class"
        print(f"measured on a 64-bit host: {kit.arena.least:,} bytes are enough for tflite-micro")
        print(f"of {kit.agreement.images} images, tflite-micro answers as LiteRT's reference kernels: {counts}")
    else:
        print(f"estimated, not measured: {kit.unmeasured}")


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
