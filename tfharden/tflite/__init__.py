"""TFLite files: verified before native code sees them, read as facts, and run in batches.

`read` takes a path to a `TFLiteFile`, `parse` a content; `Runtime` runs it. `check` alone verifies bytes from anywhere.
"""

from tfharden.tflite.reader import TensorSpec, TFLiteFile, parse, read
from tfharden.tflite.runtime import KERNELS, Runtime
from tfharden.tflite.verifier import check

__all__ = ["KERNELS", "Runtime", "TFLiteFile", "TensorSpec", "check", "parse", "read"]
