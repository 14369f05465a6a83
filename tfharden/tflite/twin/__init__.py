"""The differentiable twin of a .tflite, to aim white-box attacks at the file itself."""

from tfharden.tflite.twin.registry import known
from tfharden.tflite.twin.twin import KERNELS, Twin
from tfharden.tflite.twin.verification import Agreement, TensorAgreement

__all__ = ["KERNELS", "Agreement", "TensorAgreement", "Twin", "known"]
