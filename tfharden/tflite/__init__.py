"""TFLite files: verified before native code sees them, read as facts, and run in batches.

`read` takes a path to a `TFLiteFile`, `parse` a content; `Runtime` runs it, and `Twin` gives its gradients. `verify`
alone checks bytes from anywhere. `register` adds an `OperatorSpec` to the operators that files may have.
"""

from tfharden._deprecation import renamed_names
from tfharden.tflite.graph import Tensor
from tfharden.tflite.model import TFLiteFile, parse, read, verify
from tfharden.tflite.ops import OperatorSpec, register
from tfharden.tflite.runtime import KERNELS, Runtime
from tfharden.tflite.twin import Twin

__all__ = [
    "KERNELS",
    "OperatorSpec",
    "Runtime",
    "TFLiteFile",
    "Tensor",
    "Twin",
    "parse",
    "read",
    "register",
    "verify",
]

__getattr__ = renamed_names(__name__, {"TensorSpec": "Tensor", "check": "verify"}, globals())
