"""Results of an evaluation, as typed records that are written to report.json and read back."""

from tfharden.evaluation.results.comparisons import (
    ComparedModel,
    DifferentialAttack,
    DifferentialResult,
    TransferResult,
)
from tfharden.evaluation.results.evaluation import SCHEMA, DataFacts, EvaluationResult, ThreatFacts
from tfharden.evaluation.results.model import (
    AttackSummary,
    CheckResult,
    LatencyResult,
    ModelFacts,
    ModelResult,
    StageResult,
    TwinResult,
    WorstCase,
)
from tfharden.evaluation.results.probes import (
    AnswerCounts,
    ConfidenceResult,
    CurveResult,
    FoolingResult,
    LinearityResult,
    LineExample,
)
from tfharden.evaluation.results.record import Record

__all__ = [
    "SCHEMA",
    "AnswerCounts",
    "AttackSummary",
    "CheckResult",
    "ComparedModel",
    "ConfidenceResult",
    "CurveResult",
    "DataFacts",
    "DifferentialAttack",
    "DifferentialResult",
    "EvaluationResult",
    "FoolingResult",
    "LatencyResult",
    "LineExample",
    "LinearityResult",
    "ModelFacts",
    "ModelResult",
    "Record",
    "StageResult",
    "ThreatFacts",
    "TransferResult",
    "TwinResult",
    "WorstCase",
]
