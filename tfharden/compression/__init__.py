"""Smaller models that stay Keras models, on tensorflow-model-optimization's algorithms."""

from tfharden.compression.clustering import INITIALISERS, Clustering
from tfharden.compression.pruning import PATTERNS, Pruning, constant_sparsity, polynomial_decay
from tfharden.compression.quantization import calibrate, cut_off, quantize_aware

__all__ = [
    "INITIALISERS",
    "PATTERNS",
    "Clustering",
    "Pruning",
    "calibrate",
    "constant_sparsity",
    "cut_off",
    "polynomial_decay",
    "quantize_aware",
]
