"""The one exception for input that a user can put right."""


class InputError(ValueError):
    """Bad input, told in one line: what is wrong, and what would be right.

    Raised for whatever comes from outside: flags, files, images, labels, models. The command-line tools print its
    message and exit with status 1; any other exception is a fault of this package and keeps its traceback.
    """


class TrainingError(RuntimeError):
    """A training that can't go on, told in one line: what happened, where, and what would help."""


class TrainingWarning(UserWarning):
    """What a user should know about a training that goes on, in one line."""
