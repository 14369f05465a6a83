"""Evaluation under attack, and its report."""

from tfharden._deprecation import renamed_names
from tfharden.evaluation.evaluator import evaluate
from tfharden.evaluation.probes.dimension import growth_with_dimension, linear_margin_drop
from tfharden.evaluation.probes.linearity import linearity
from tfharden.evaluation.probes.registry import PROBES
from tfharden.evaluation.report.panels import Fooling, Panel
from tfharden.evaluation.report.report import Report
from tfharden.evaluation.report.tensorboard import check_tensorboard, write_tensorboard
from tfharden.evaluation.results import EvaluationResult, TransferResult
from tfharden.evaluation.statistics import wilson
from tfharden.evaluation.transfer import transfer_matrix

__all__ = [
    "PROBES",
    "EvaluationResult",
    "Fooling",
    "Panel",
    "Report",
    "TransferResult",
    "check_tensorboard",
    "evaluate",
    "growth_with_dimension",
    "linear_margin_drop",
    "linearity",
    "transfer_matrix",
    "wilson",
    "write_tensorboard",
]
__getattr__ = renamed_names(__name__, {"TransferMatrix": "TransferResult"}, globals())
