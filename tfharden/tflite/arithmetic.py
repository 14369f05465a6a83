"""Multiply-adds of a graph, counted from the shapes of its own operators."""

from tfharden.tflite.graph import Graph
from tfharden.tflite.ops import of


def multiply_adds(graph: Graph) -> int:
    """Multiply-adds of a verified graph for one image: those of convolutions and matrix products.

    Products with padding count, as the usual formulas count them; so do those with weights that are zero. Additions of
    a bias, activations, pooling and all other operators don't.
    """
    counts = ((of(operator).multiply_adds, operator) for operator in graph.operators)
    return sum(count(operator) for count, operator in counts if count is not None) // max(graph.batch, 1)
