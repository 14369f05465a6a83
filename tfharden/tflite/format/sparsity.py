"""Sparse tensors: their index, checked, since native code walks it without looking, and read.

It is a tree, one level a dimension: each level has all places of its dimension, or names those that are there.
"""

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.format.flatbuffer import Table

_DENSE = 0
_CSR = 1


def stored_elements(sparsity: Table, shape: tuple[int, ...], where: str) -> int:
    """Number of elements that the buffer of a sparse tensor of this dense `shape` holds.

    Raises:
        InputError: the index doesn't describe a tensor of this shape.
    """
    order = _values(sparsity.traversal_order)
    block_map = _values(sparsity.block_map)
    levels = sparsity.dim_metadata or []
    rank = len(shape)
    if len(block_map) > rank:
        raise _broken(where)
    # The dimensions come first, then the blocks inside them, each group in any order.
    groups = (sorted(order[:rank]), sorted(order[rank:]))
    if groups != (list(range(rank)), list(range(rank, rank + len(block_map)))) or len(levels) != len(order):
        raise _broken(where)

    sizes = list(shape)
    for block, dimension in enumerate(block_map, start=rank):
        size = levels[order.index(block)].dense_size
        if levels[order.index(block)].format != _DENSE or size < 1 or not 0 <= dimension < rank:
            raise _broken(where)
        if sizes[dimension] % size:
            raise _broken(where)
        sizes[dimension] //= size
        sizes.append(size)

    elements = 1
    for dimension, level in zip(order, levels, strict=True):
        if level.format == _DENSE:
            if level.dense_size != sizes[dimension]:
                raise _broken(where)
            elements *= level.dense_size
        elif level.format == _CSR:
            elements = _compressed(level, elements, sizes[dimension], where)
        else:
            raise _broken(where)
    return elements


def dense(sparsity: Table, shape: tuple[int, ...], stored: np.ndarray) -> np.ndarray:
    """The whole tensor, of an index that `stored_elements` has found to fit."""
    order, block_map, levels = _values(sparsity.traversal_order), _values(sparsity.block_map), sparsity.dim_metadata
    places: list[np.ndarray] = []
    nodes = 1
    for level in levels:
        if level.format == _DENSE:
            parents, own = np.divmod(np.arange(nodes * level.dense_size), level.dense_size)
        else:
            own = _index(level.array_indices)
            parents = np.repeat(np.arange(nodes), np.diff(_index(level.array_segments)))
        places = [*(place[parents] for place in places), own]
        nodes = len(own)
    of = dict(zip(order, places, strict=True))
    for block, dimension in enumerate(block_map, start=len(shape)):
        of[dimension] = of[dimension] * levels[order.index(block)].dense_size + of[block]
    whole = np.zeros(shape, stored.dtype)
    whole[tuple(of[dimension] for dimension in range(len(shape)))] = stored
    return whole


def _compressed(level: Table, parents: int, size: int, where: str) -> int:
    """Elements of a compressed level: `segments` delimits each parent's children, `indices` says where they are."""
    segments = _index(level.array_segments)
    indices = _index(level.array_indices)
    if len(segments) != parents + 1 or segments[0] != 0 or segments[-1] != len(indices):
        raise _broken(where)
    if (np.diff(segments) < 0).any() or (indices < 0).any() or (indices >= size).any():
        raise _broken(where)
    return len(indices)


def _index(member: Table | None) -> np.ndarray:
    values = getattr(member, "values", None)
    return np.zeros(0, np.int64) if values is None else values.astype(np.int64)


def _values(vector: np.ndarray | None) -> list[int]:
    return [] if vector is None else vector.tolist()


def _broken(where: str) -> InputError:
    return InputError(f"damaged TFLite file: the sparse index of {where} doesn't fit its shape")
