"""Tools in this process, where their work can be watched."""

import keras
from absl import flags

from tfharden.cli import flag_fields


def configured(tool, *arguments):
    """The configuration that these flags describe; none of them is left behind."""
    before = set(flags.FLAGS)
    flag_fields.define(tool.Config)
    try:
        flags.FLAGS(["tool", *map(str, arguments)])
        return flag_fields.read(tool.Config)
    finally:
        flags.FLAGS.unparse_flags()
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)


def run_here(tool, *arguments):
    """Runs a tool as its flags say."""
    config = configured(tool, *arguments)
    keras.utils.set_random_seed(config.data.seed)
    tool.main(config)
