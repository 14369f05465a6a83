"""Native libraries: what they write to stderr, and what the C library does with freed memory."""

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT = 2**30


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, up to a gigabyte, for what it allocates next; call it before training.

    TensorFlow allocates the tensors of every step anew. glibc gives large blocks back to the kernel at once, which
    hands them out again page by page, zeroed: on a virtual machine, where a page fault is dear, that can take more than
    half of the time of a training step. The tools do this by themselves; a program of one's own may, once.

    Returns:
        Whether the C library could be told: glibc's (most of Linux) can, others are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows has no such handle
        return False
    # No block gets a mapping of its own, and the heap shrinks when more than that lies free at its end.
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, KEPT)])


@contextlib.contextmanager
def native_stderr() -> Iterator[None]:
    """Swallows what is written to file descriptor 2 in the block; an exception lets it out first."""
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (AttributeError, OSError):  # no stderr at all, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
