"""Command line of tfharden, installed as `tfharden.cli`: one absl script a job."""

import importlib
import os

from tfharden import _native

# What TensorFlow logs by itself is no news to a tool's user; a level that is set already stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Some of it is written while libraries load, before any level holds.
with _native.native_stderr():
    for module in ("tensorflow", "keras", "ai_edge_litert.interpreter"):
        importlib.import_module(module)
