"""LiteRT's interpreter on a kernel set."""

from typing import TYPE_CHECKING

from tfharden import _native

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

# Kernel sets by name, and LiteRT's names for them.
KERNELS = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def interpreter(content: bytes, kernels: str, *, keep_tensors: bool = False) -> "Interpreter":
    """An interpreter of a verified file, on one thread, with its tensors allocated.

    Args:
        content: the file.
        kernels: a name in `KERNELS`.
        keep_tensors: whether every tensor can be read after a run; takes memory.

    Raises:
        RuntimeError, ValueError, MemoryError: LiteRT can't load the file.
    """
    from ai_edge_litert import interpreter as litert  # noqa: PLC0415 - slow to load, and reading a file doesn't need it

    with _native.native_stderr():
        made = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=getattr(litert.OpResolverType, KERNELS[kernels]),
            experimental_preserve_all_tensors=keep_tensors,
            num_threads=1,
        )
        made.allocate_tensors()
    return made
