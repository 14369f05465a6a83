"""Makes C++ sources for tflite-micro of an int8 .tflite file, with golden vectors from a dataset's test images.

tfharden-mcu --model=saved_models/student_int8.tflite --output_dir=saved_models/mcu_kit

With the extra tfharden[micro], the arena is measured, and tflite-micro runs the images beside LiteRT.
"""

import dataclasses

import tfharden as th
from tfharden.cli import config, runner
from tfharden.cli.flag_fields import part, string, switch
from tfharden.cli.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What the flags ask for."""

    data: config.DataConfig = part(config.DataConfig)
    model: str = string(None, "A .tflite file, integers throughout.", required=True)
    output_dir: str = string("saved_models/mcu_kit", "Folder of the kit, new or empty.")
    overwrite: bool = switch("Replace what stands at the output.")


def main(config: Config) -> None:
    """Makes the kit, and prints what it takes."""
    dataset = config.data.load()
    with Progress("mcu kit") as progress:
        images, _ = config.data.test_examples(dataset)
        kit = th.export.mcu_kit(config.model, images, config.output_dir, overwrite=config.overwrite)
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
    runner.run(Config, main)
