"""Evaluation under attack, and its report."""

from tfharden.evaluation.evaluator import evaluate
from tfharden.evaluation.report import Panel, Report

__all__ = ["Panel", "Report", "evaluate"]
