"""Differentiable twin of a .tflite, to aim white-box attacks at the file itself."""

from tfharden.tflite.twin.agreement import Agreement, TensorAgreement
from tfharden.tflite.twin.twin import KERNELS, Twin, known

__all__ = ["KERNELS", "Agreement", "TensorAgreement", "Twin", "known"]
