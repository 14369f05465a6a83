"""Evaluation under attack, and its report."""

from tfharden.evaluation.evaluator import evaluate
from tfharden.evaluation.probes.dimension import growth_with_dimension, linear_margin_drop
from tfharden.evaluation.probes.linearity import linearity
from tfharden.evaluation.probes.registry import PROBES
from tfharden.evaluation.report.report import Fooling, Panel, Report
from tfharden.evaluation.report.tensorboard import check_tensorboard, write_tensorboard
from tfharden.evaluation.statistics import wilson
from tfharden.evaluation.transfer_matrix import TransferMatrix, transfer_matrix

__all__ = [
    "PROBES",
    "Fooling",
    "Panel",
    "Report",
    "TransferMatrix",
    "check_tensorboard",
    "evaluate",
    "growth_with_dimension",
    "linear_margin_drop",
    "linearity",
    "transfer_matrix",
    "wilson",
    "write_tensorboard",
]
