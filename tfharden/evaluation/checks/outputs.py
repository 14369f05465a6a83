"""What the classifier answers: its scores, and whether it answers the same when asked again, apart, or close by."""

import numpy as np

from tfharden.attacks import Noise
from tfharden.attacks.core.criteria import Untargeted
from tfharden.attacks.score.margins import remaining_margins
from tfharden.classifiers import Classifier, TFLiteClassifier, decide
from tfharden.evaluation.checks.context import Subject, Verdict, grade, percent, verdict

# Where more images than these have several largest logits, accuracy depends on the order of the classes.
TIED = 0.05
PASSES = 5
# Distance between logits of length 1 beyond which they are random, not rounded (AutoAttack's limit).
RANDOM = 1e-4
# Change relative to the largest logit beyond which batches are treated otherwise than images; rounding gives 1e-6.
BATCHED = 1e-3
ALONE = 16
# Points within a tenth of the ball. An honest margin changes there by a tenth of what an attack does to it; one that
# changes by as much as it is worth says nothing about its surroundings.
POINTS, NEARBY = 20, 0.1
UNSTABLE, ERRATIC = 0.25, 0.5


def scores(classifier: Classifier, subject: Subject | None) -> Verdict:
    """Attacks on probabilities stall where these saturate; NaN is no answer; of equal logits the first wins."""
    status, detail = "pass", f"attacks see {classifier.scores}"
    if subject is not None:
        logits = subject.logits
        finite = np.isfinite(logits).all(axis=-1)
        if not finite.all():
            return verdict("scores", "fail", f"{detail}, not finite on {(~finite).sum()} of {len(logits)} images")
        detail += f" from {logits.min():.3g} to {logits.max():.3g}"
        tied = int((np.sum(logits == logits.max(axis=-1, keepdims=True), axis=-1) > 1).sum())
        if tied or _integer(classifier):
            detail += f", with ties for the largest on {tied} of {len(logits)} images"
            status = grade(tied / len(logits), TIED, np.inf)
    return verdict("scores", "warn" if classifier.scores == "log of probabilities" else status, detail)


def randomness(subject: Subject) -> Verdict:
    """Gradients of one draw don't lead the next one astray (Athalye et al. 2018); averages over draws (EoT) do."""
    first = _unit(subject.logits)
    again = [_unit(subject.classifier.logits(subject.x)) for _ in range(PASSES - 1)]
    apart = max(float(np.linalg.norm(other - first, axis=-1).max()) for other in again)
    averaged = any(result.name.startswith("eot-") for result in subject.results)
    status = "pass" if apart <= RANDOM else "warn" if averaged else "fail"
    detail = f"logits of length 1 are up to {apart:.2g} apart in {PASSES} passes of {len(first)} images"
    return verdict("randomness", status, detail if status == "pass" else f"{detail}: attack with eot-pgd")


def inference_mode(subject: Subject) -> Verdict:
    """In inference an image doesn't see its batch, and an attack of radius 0 leaves clean accuracy as it is."""
    classifier, alone = subject.classifier, slice(0, ALONE)
    single = np.concatenate([classifier.logits(image[None]) for image in subject.x[alone]])
    change = float(np.max(np.abs(single - subject.logits[alone]))) / max(float(np.abs(subject.logits).max()), 1e-12)
    classes = int((decide(single) != decide(subject.logits[alone])).sum())
    status = "pass" if change <= BATCHED else "fail" if classes else "warn"
    detail = f"logits change by {percent(change)} of the largest when an image comes alone"
    if subject.has_ball:
        clean = float(np.mean(decide(subject.logits) == subject.y))
        still = Noise(subject.threat.scaled(0))(classifier, subject.x, subject.y).robust_accuracy
        detail += f"; accuracy {clean:.1%}, {still:.1%} under an attack of radius 0"
        status = status if still == clean else "fail"
    return verdict("inference mode", status, detail)


def stability(subject: Subject) -> Verdict:
    """Mean |m(x') - m(x)| / |m(x)| of the margin m at random points nearby, at most 1 each (Pintor et al. 2022)."""
    rng, threat = subject.rng(1), subject.threat.scaled(NEARBY)
    margins, _ = remaining_margins(subject.logits, Untargeted(subject.y))
    changes = []
    for _ in range(POINTS):
        seed = rng.integers(2**31, size=2).astype(np.int32)
        nearby = np.asarray(threat.round_to_lattice(threat.random_start(subject.x, seed)))
        moved, _ = remaining_margins(subject.classifier.logits(nearby), Untargeted(subject.y))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.abs(moved - margins) / np.abs(margins)
        changes.append(np.where(moved == margins, 0.0, np.minimum(np.nan_to_num(change, nan=1.0), 1.0)))
    change = float(np.median(np.mean(changes, axis=0)))
    detail = f"the margin changes by {percent(change)} at {POINTS} random points within a tenth of the ball"
    return verdict("stable predictions", grade(change, UNSTABLE, ERRATIC), f"{detail}, median of {len(margins)} images")


def _integer(classifier: Classifier) -> bool:
    return isinstance(classifier, TFLiteClassifier) and np.issubdtype(classifier.file.output.dtype, np.integer)


def _unit(logits: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)
    return finite / np.maximum(np.linalg.norm(finite, axis=-1, keepdims=True), 1e-12)
