"""Command line of tfharden, installed as `tfharden.tools`: one absl script a job."""

import os
import sys
import tempfile

# What TensorFlow logs by itself is no news to a tool's user; a level that is set already stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _import_quietly(*modules: str) -> None:
    """Imports modules whose native code writes to stderr while it loads, before any log level holds.

    What they wrote is shown if the import fails.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            for module in modules:
                __import__(module)
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


_import_quietly("tensorflow", "keras", "ai_edge_litert.interpreter")
