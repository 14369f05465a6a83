"""How a tool runs: repeatable, with one line for bad input and an exit status that scripts can use."""

import functools
import pathlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
import tensorflow as tf
from absl import app, flags, logging

from tfharden._native import keep_freed_memory
from tfharden.errors import InputError, TrainingError, TrainingWarning
from tfharden.export import ExportError

QUOTE = "'"  # which absl puts round defaults
BAD_INPUT, BAD_USAGE, INTERRUPTED = 1, 2, 130


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a tool: status 0; 1 and one line for bad input; 2 and one line for bad flags."""
    purpose = sys.modules[main.__module__].__doc__ or ""
    app.run(lambda argv: _guarded(main), flags_parser=functools.partial(_parse, purpose))


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


def _guarded(main: Callable[[], None]) -> int:
    keep_freed_memory()
    logging.set_verbosity(logging.ERROR)
    keras.utils.set_random_seed(flags.FLAGS.seed)
    tf.config.experimental.enable_op_determinism()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_warn, warnings.showwarning)
            main()
    except (InputError, ExportError, TrainingError) as error:
        _complain(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    return 0


def _help(purpose: str) -> str:
    """What the tool is for, and the flags that tools define, without those of the libraries."""
    lines = [purpose.strip(), ""]
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("tfharden.cli.") or module == sys.argv[0]:
            for flag in sorted(defined, key=lambda flag: flag.name):
                default = "" if flag.default is None else f" Default: {flag.default_as_str.strip(QUOTE)}."
                lines.append(f"  --{flag.name}\n      {flag.help}{default}")
    return "\n".join(lines)


def _warn(otherwise: Callable[..., None], message: Warning | str, *place: Any, **options: Any) -> None:  # noqa: ANN401
    """Tells our own warnings in a line, without the place in the code that they come from."""
    if isinstance(message, TrainingWarning):
        _complain(str(message))
    else:
        otherwise(message, *place, **options)


def _complain(message: str) -> None:
    sys.stderr.write(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(message.split())}\n")
