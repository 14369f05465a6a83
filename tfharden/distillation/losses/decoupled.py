"""Decoupled soft targets: a weight for the target class against the rest, and one for the other classes."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.distillation.losses.base import PerExampleLoss
from tfharden.losses import kl_divergence
from tfharden.serialization import registered

# A logit whose probability is 0.
HIDDEN_LOGIT = tf.float32.min


def decoupled_divergences(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, targets: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two parts of KL(p || q) = TCKD + (1 - p_t) NCKD, each `[batch]`, for target classes t, `[batch]`.

    TCKD = KL((p_t, 1 - p_t) || (q_t, 1 - q_t)) compares the target class with the rest; NCKD = KL(p' || q') compares
    the other classes among themselves: p'_i = p_i / (1 - p_t), i != t. Both come from logits, so that nothing is lost
    where p_t rounds to 1.
    """
    teacher, student = tf.cast(teacher_logits, tf.float32), tf.cast(student_logits, tf.float32)
    is_target = tf.one_hot(targets, tf.shape(teacher)[-1], on_value=True, off_value=False, dtype=tf.bool)

    def split(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits of target and rest, `[batch, 2]`, and those of the rest, where the target's is hidden."""
        target, others = tf.where(is_target, logits, 0.0), tf.where(is_target, HIDDEN_LOGIT, logits)
        return tf.stack([tf.reduce_sum(target, axis=-1), tf.reduce_logsumexp(others, axis=-1)], axis=-1), others

    (teacher_pair, teacher_others), (student_pair, student_others) = split(teacher), split(student)
    return kl_divergence(teacher_pair, student_pair), kl_divergence(teacher_others, student_others)


@registered
@dataclasses.dataclass(frozen=True)
class DecoupledTarget(PerExampleLoss):
    """T^2 * (alpha * TCKD + beta * NCKD) on logits at temperature T (DKD).

    Zhao et al. 2022, arXiv:2203.08679. Soft targets are TCKD + (1 - p_t) * NCKD: the more confident the teacher, the
    less of what it knows about the other classes arrives. A fixed beta brings it back. The paper's target class t is
    the label, which a distillation loss isn't told: here it is the teacher's top class, the same wherever the teacher
    is right. With two classes NCKD is 0.

    The defaults are those of the authors' code for CIFAR-100, which also adds the cross entropy with the labels
    (`label_weight=1` in the Distiller) and lets this loss grow in over the first 20 epochs.

    Args:
        alpha: factor of the target class against the rest.
        beta: factor of the other classes among themselves; the paper tunes it to the teacher.
        temperature: T > 0.
        weight: factor in the Distiller's sum.
        student_layer_name: layer of the student that gives logits, for a further head; the classifier's by default.
        teacher_layer_name: layer of the teacher, likewise.
    """

    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 4.0
    weight: float = 1.0
    student_layer_name: str | None = None
    teacher_layer_name: str | None = None

    on_logits = True

    def __post_init__(self) -> None:
        self._check(alpha=0.0, beta=0.0)
        check_number("DecoupledTarget: temperature", self.temperature, above=0)

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        t = self.temperature
        teacher, student = tf.cast(teacher_outputs, tf.float32) / t, tf.cast(student_outputs, tf.float32) / t
        target, others = decoupled_divergences(teacher, student, tf.argmax(teacher, axis=-1))
        return t**2 * (self.alpha * target + self.beta * others)
