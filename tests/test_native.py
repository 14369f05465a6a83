import platform
import subprocess
import sys

import pytest

# Page faults of twenty blocks, one after another, each written to and freed. glibc maps one of this size by itself.
COUNT = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.memset.argtypes = [ctypes.c_size_t], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def faults(blocks=20, size=40 * 2**20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        block = libc.malloc(size)
        libc.memset(block, 1, size)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
DIRECT = "from tfharden._native import keep_freed_memory\nbefore = faults()\nassert keep_freed_memory()"
BY_A_TOOL = """
import dataclasses
from tfharden.cli import config, flag_fields, runner

@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: config.DataConfig = flag_fields.part(config.DataConfig)

def main(config):
    print(before, faults())

before = faults()
runner.run(Config, main)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")


def counted(script):
    done = subprocess.run([sys.executable, "-c", COUNT + script], capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.parametrize("script", [DIRECT + "\nprint(before, faults())", BY_A_TOOL], ids=["called", "by a tool"])
def test_freed_memory_is_used_again(script):
    before, after = counted(script)
    assert before > 5 * after  # twenty blocks' pages against one's
