"""What the C library does with memory that TensorFlow lets go."""

import ctypes

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
