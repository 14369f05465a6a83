"""Runs a tool: repeatable, with one line for bad input and an exit status that scripts can use."""

import functools
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from tfharden import _native
from tfharden.cli import flag_fields
from tfharden.errors import InputError, TrainingError, TrainingWarning

QUOTE = "'"  # which absl puts round defaults
BAD_INPUT, BAD_USAGE, INTERRUPTED = 1, 2, 130
Config = TypeVar("Config")


def run(kind: type[Config], main: Callable[[Config], None]) -> None:
    """Runs a tool: status 0; 1 and one line for bad input; 2 and one line for bad flags.

    TensorFlow is imported once the flags are known to be good.

    Args:
        kind: class of the configuration, whose fields are flags.
        main: does the work; the docstring of its module is the purpose that --help shows.
    """
    flag_fields.define(kind)
    purpose = sys.modules[main.__module__].__doc__ or ""
    app.run(lambda argv: _guarded(kind, main), flags_parser=functools.partial(_parse, purpose))


def _parse(purpose: str, argv: Sequence[str]) -> list[str]:
    if {"--help", "-help", "-h"} & {*argv[1:]}:
        print(_help(purpose))
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        _complain(str(error))
        sys.exit(BAD_USAGE)
    if len(rest) > 1:
        _complain(f"{rest[1]!r} is no flag: flags look like --name=value; --help lists them")
        sys.exit(BAD_USAGE)
    return rest


def _guarded(kind: type[Config], main: Callable[[Config], None]) -> int:
    _native.keep_freed_memory()
    logging.set_verbosity(logging.ERROR)
    _import_tensorflow(flags.FLAGS.seed)
    from tfharden.export import ExportError  # noqa: PLC0415 - it imports TensorFlow

    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_warn, warnings.showwarning)
            main(flag_fields.read(kind))
    except (InputError, ExportError, TrainingError) as error:
        _complain(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    return 0


def _import_tensorflow(seed: int) -> None:
    """Imports TensorFlow without what it logs, and makes it repeatable."""
    # What TensorFlow logs by itself is no news to a tool's user; a level that is set already stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Some of it is written while libraries load, before any level holds.
    with _native.native_stderr():
        import ai_edge_litert.interpreter  # noqa: F401, PLC0415
        import keras  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _help(purpose: str) -> str:
    """What the tool is for, and the flags that tools define, without those of the libraries."""
    lines = [purpose.strip(), ""]
    for flag in sorted(flags.FLAGS.flags_by_module_dict()[flag_fields.__name__], key=lambda flag: flag.name):
        default = "" if flag.default is None else f" Default: {flag.default_as_str.strip(QUOTE)}."
        lines.append(f"  --{flag.name}\n      {flag.help}{default}")
    return "\n".join(lines)


def _warn(otherwise: Callable[..., None], message: Warning | str, *place: Any, **options: Any) -> None:
    """Tells our own warnings in a line, without the place in the code that they come from."""
    if isinstance(message, TrainingWarning):
        _complain(str(message))
    else:
        otherwise(message, *place, **options)


def _complain(message: str) -> None:
    sys.stderr.write(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(message.split())}\n")
