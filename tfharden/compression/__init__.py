"""Smaller models that stay Keras models: pruning and clustering, on tensorflow-model-optimization's algorithms."""

from tfharden.compression.clustering import INITIALISERS, Clustering
from tfharden.compression.pruning import PATTERNS, Pruning, constant_sparsity, polynomial_decay

__all__ = ["INITIALISERS", "PATTERNS", "Clustering", "Pruning", "constant_sparsity", "polynomial_decay"]
