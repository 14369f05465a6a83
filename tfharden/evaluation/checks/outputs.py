"""Checks of a classifier's answers: its scores, and their stability between calls, batches and nearby points."""

import numpy as np

from tfharden.attacks import Noise
from tfharden.attacks.core.criteria import Untargeted
from tfharden.attacks.score.margins import remaining_margins
from tfharden.classifiers import Classifier, TFLiteClassifier, decide
from tfharden.evaluation.checks.context import CheckContext, Status, Verdict, grade
from tfharden.evaluation.formats import exact_percent

# Where more images than these have several largest logits, accuracy depends on the order of the classes.
TIED_SHARE = 0.05
FORWARD_PASSES = 5
# Distance between logits of length 1 beyond which they are random, not rounded (AutoAttack's limit).
RANDOM_DISTANCE = 1e-4
# Change relative to the largest logit beyond which an answer depends on its batch; rounding gives 1e-6.
BATCH_CHANGE = 1e-3
# Images that are classified one at a time.
IMAGES_ALONE = 16
# Random points within a tenth of the ball. A margin that changes there by its own size gives attacks no direction.
NEARBY_POINTS, NEARBY_RADIUS = 20, 0.1
UNSTABLE_CHANGE, ERRATIC_CHANGE = 0.25, 0.5


def scores(context: CheckContext) -> Verdict:
    """Scores are finite logits without ties. Attacks on probabilities stall where these saturate."""
    classifier, logits = context.classifier, context.logits
    detail = f"attacks see {classifier.scores}"
    finite = np.isfinite(logits).all(axis=-1)
    if not finite.all():
        return Verdict("fail", f"{detail}, not finite on {(~finite).sum()} of {len(logits)} images")
    detail += f" from {logits.min():.3g} to {logits.max():.3g}"
    tied = int((np.sum(logits == logits.max(axis=-1, keepdims=True), axis=-1) > 1).sum())
    if tied or _is_integer(classifier):
        detail += f", with ties for the largest on {tied} of {len(logits)} images"
    status = grade(tied / len(logits), TIED_SHARE, np.inf)
    return Verdict("warn" if classifier.scores == "log of probabilities" else status, detail)


def randomness(context: CheckContext) -> Verdict:
    """Logits are the same in every pass, or attacks average over them (EoT, Athalye et al. 2018, arXiv:1802.00420)."""
    first = _unit(context.logits)
    again = [_unit(context.classifier.logits(context.x)) for _ in range(FORWARD_PASSES - 1)]
    apart = max(float(np.linalg.norm(other - first, axis=-1).max()) for other in again)
    detail = f"logits of length 1 are up to {apart:.2g} apart in {FORWARD_PASSES} passes of {len(first)} images"
    if apart <= RANDOM_DISTANCE:
        return Verdict("pass", detail)
    return Verdict("warn" if any(run.is_averaged for run in context.runs) else "fail", f"{detail}: attack with eot-pgd")


def inference_mode(context: CheckContext) -> Verdict:
    """Logits don't depend on the rest of the batch, and an attack of radius 0 leaves clean accuracy unchanged."""
    classifier, alone = context.classifier, slice(0, IMAGES_ALONE)
    single = np.concatenate([classifier.logits(image[None]) for image in context.x[alone]])
    change = float(np.max(np.abs(single - context.logits[alone]))) / max(float(np.abs(context.logits).max()), 1e-12)
    classes = int((decide(single) != decide(context.logits[alone])).sum())
    status: Status = "pass" if change <= BATCH_CHANGE else "fail" if classes else "warn"
    detail = f"logits change by {exact_percent(change)} of the largest when an image comes alone"
    if context.has_ball:
        clean = float(np.mean(decide(context.logits) == context.y))
        still = Noise(context.threat.scaled(0))(classifier, context.x, context.y).robust_accuracy
        detail += f"; accuracy {clean:.1%}, {still:.1%} under an attack of radius 0"
        status = status if still == clean else "fail"
    return Verdict(status, detail)


def stability(context: CheckContext) -> Verdict | None:
    """Mean |m(x') - m(x)| / |m(x)| of the margin m at random points nearby, at most 1 each (Pintor et al. 2022).

    arXiv:2106.09947.
    """
    if not context.has_ball:
        return None
    rng, threat = context.rng(1), context.threat.scaled(NEARBY_RADIUS)
    margins, _ = remaining_margins(context.logits, Untargeted(context.y))
    changes = []
    for _ in range(NEARBY_POINTS):
        seed = rng.integers(2**31, size=2).astype(np.int32)
        nearby = np.asarray(threat.round_to_lattice(threat.random_start(context.x, seed)))
        moved, _ = remaining_margins(context.classifier.logits(nearby), Untargeted(context.y))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.abs(moved - margins) / np.abs(margins)
        changes.append(np.where(moved == margins, 0.0, np.minimum(np.nan_to_num(change, nan=1.0), 1.0)))
    change = float(np.median(np.mean(changes, axis=0)))
    detail = (
        f"the margin changes by {exact_percent(change)} at {NEARBY_POINTS} random points within a tenth of the ball"
    )
    return Verdict(grade(change, UNSTABLE_CHANGE, ERRATIC_CHANGE), f"{detail}, median of {len(margins)} images")


def _is_integer(classifier: Classifier) -> bool:
    return isinstance(classifier, TFLiteClassifier) and np.issubdtype(classifier.file.output.dtype, np.integer)


def _unit(logits: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)
    return finite / np.maximum(np.linalg.norm(finite, axis=-1, keepdims=True), 1e-12)
