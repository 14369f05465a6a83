import ctypes
import gc
import pathlib
import resource
import sys

import pytest

import tfharden as th
from tests._helpers.exporting import images, spread

SWEEP = ("float32", "float16", "int8", "int16x8")


def resident():
    """Bytes of memory that the process occupies, without what its allocator keeps for later."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc's allocator")
def test_a_sweep_does_not_grow():
    """TensorFlow's converter is known to keep memory at every conversion of a SavedModel; exports go another way.

    If each export kept the float weights but once, a sweep would add four times their size. Twice is allowed, in the
    best of two sweeps, since other libraries' pools grow now and then.
    """
    x = images(40, shape=(32, 32, 1))
    model = spread(th.models.build("mlp", (32, 32, 1), 10, width=768, seed=0), x)
    weights = 4 * model.count_params()
    assert weights > 5e6
    grown = []
    for _ in range(3):  # the first warms up
        before = resident()
        for recipe in SWEEP:
            th.export.to_tflite(model, recipe, x)
        grown.append(resident() - before)
    assert min(grown[1:]) < 2 * weights, grown
