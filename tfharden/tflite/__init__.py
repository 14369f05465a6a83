"""TFLite files: verified before native code sees them, read as facts, and run in batches.

`read` takes a path to a `TFLiteFile`, `parse` a content; `Runtime` runs it, and `Twin` gives its gradients. `check`
alone verifies bytes from anywhere.
"""

import importlib
from typing import Any

from tfharden.tflite.format.verifier import check
from tfharden.tflite.model import TensorSpec, TFLiteFile, parse, read
from tfharden.tflite.runtime import KERNELS, Runtime

__all__ = ["KERNELS", "Runtime", "TFLiteFile", "TensorSpec", "Twin", "check", "parse", "read"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported when it is first used: it needs TensorFlow, which takes seconds to load.
    if name == "Twin":
        return importlib.import_module("tfharden.tflite.twin").Twin
    raise AttributeError(f"module 'tfharden.tflite' has no attribute {name!r}")
