"""TFLite files: verified before native code sees them, read as facts, and run in batches.

`read` takes a path to a `TFLiteFile`, `parse` a content; `Runtime` runs it, and `Twin` gives its gradients. `check`
alone verifies bytes from anywhere. Names are imported when they are first used: `Twin` needs TensorFlow.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
