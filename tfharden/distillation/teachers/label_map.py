"""Label map: teachers of different classes as one teacher of all classes.

No teacher knows how likely an image is of its own domain: that has to come from elsewhere, or be estimated.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import keras
import numpy as np
import tensorflow as tf

from tfharden.classifiers import shapes, to_logits
from tfharden.distillation.teachers.common import check_temperature, gives_probabilities, image_shape
from tfharden.errors import InputError
from tfharden.serialization import registered

# Logarithm of a probability of 0: exp of it is 0, at ten times the temperature too. Finite, so that 0 times it is 0 in
# a KL divergence; T times it is within the range of float16, in which logits may be kept, up to T = 65.
LOG_OF_ZERO = -1000.0

_MISSING = {
    "labels": "pass domains=label_map.domain_of[y] for the merged labels y",
    "stream": "pass domains, the number of the domain that each image came from",
}


@registered
class LabelMap(keras.Model):
    """A teacher of the classes of all `teachers`, domain after domain: logits `[batch, all classes]`, float32.

    A class's probability is that of its domain k, times what the teacher of that domain says:

        p(c | x) = P(k | x) * softmax(z_k / T)_c        z = T log p, so that softmax(z / T) = p

    SoftTarget at the same T is then a loss on the domain plus losses within the domains, since
    KL(p || q) = KL(P || Q) + sum_k P_k KL(p_k || q_k) for a student q. This is knowledge amalgamation (Shen et al.
    2019, arXiv:1811.02796; Luo et al. 2019, arXiv:1906.10546) on outputs alone. The first term teaches the student to
    tell domains apart. The teachers don't hold that knowledge, so `domain_from` says where P(k | x) comes from:

    - "labels": the domain of the example's label, `label_map(images, domains=label_map.domain_of[y])`;
    - "stream": the data set that the example came from, `label_map(images, domains=[0, 0, 1])`: no labels needed;
    - "confidence": the teachers themselves. The weight of each grows with the gap between its entropy H at T = 1 and
      log C_k, the entropy of a guess among its C_k classes:

          P(k | x) proportional to (log C_k / H(softmax(z_k)))^sharpness

      This **assumes that a teacher is less confident outside its own domain**, which networks often are, without any
      guarantee (Hendrycks and Gimpel 2017, arXiv:1610.02136), and that all teachers are about equally confident within
      it: one trained for longer wins images that aren't its own. Measure it (`domain_probabilities`), and prefer the
      other two where they are available. Of two small CNNs for digits 0 to 4 and 5 to 9 it trusts the right one for
      0.89 of the clean images; where one was trained for 60 epochs and the other for 8, for 0.81. The ratio of
      logarithms, instead of the difference of entropies, keeps a ranking where all teachers are nearly certain, and
      does not depend on a shift of the logits, as the energy logsumexp(z) would (Liu et al. 2020, arXiv:2010.03759).

    In the first two, P is 0 or 1 and the logits of other domains lie 1000 T below. In a graph, where nothing can be
    raised, an example of no known domain gets NaN. The teachers, their weights and flags, are left as they are.

    Args:
        teachers: built classifier, to logits or softmax, of each domain by the domain's name. Their order is that of
            the merged classes.
        classes: names of each teacher's classes, in its order.
        domain_from: "labels", "stream" or "confidence".
        temperature: T > 0.
        sharpness: > 0, of "confidence" only: the higher, the larger the weight of the most confident teacher; from
            1000 on it decides alone.
        preprocess: layer or model applied to the image before a teacher, by domain; none where left out.
        name: the model's name.

    Raises:
        InputError: no teachers, teachers of different images, other class names than a teacher has classes, a class
            that is named twice, unknown domains or `domain_from`, a temperature or sharpness that is not > 0.
    """

    def __init__(
        self,
        teachers: Mapping[str, keras.Model],
        classes: Mapping[str, Sequence[str]],
        domain_from: Literal["labels", "stream", "confidence"],
        temperature: float = 1.0,
        sharpness: float = 1.0,
        preprocess: Mapping[str, keras.layers.Layer | None] | None = None,
        name: str = "label_map",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        if not (isinstance(teachers, Mapping) and isinstance(classes, Mapping) and teachers):
            raise InputError("a label map needs teachers and the names of their classes, each by domain")
        before: dict[str, keras.layers.Layer] = {
            domain: layer for domain, layer in (preprocess or {}).items() if layer is not None
        }
        self.domains = tuple(teachers)
        unknown = [domain for domain in (*classes, *before) if domain not in teachers]
        missing = [domain for domain in teachers if domain not in classes]
        if unknown or missing:
            what = f"no teacher for {unknown[0]!r}" if unknown else f"no class names for {missing[0]!r}"
            raise InputError(f"label map: {what}: domains are {', '.join(map(repr, self.domains))}")
        if domain_from not in ("labels", "stream", "confidence"):
            raise InputError(f"domain_from={domain_from!r} has to be 'labels', 'stream' or 'confidence'")
        if not 0 < sharpness < math.inf:
            raise InputError(f"sharpness={sharpness} has to be > 0 and finite")
        self._image = image_shape(list(teachers.values()), [before.get(domain) for domain in teachers])
        self._names = {domain: tuple(classes[domain]) for domain in teachers}
        self._check_classes(teachers, classes)
        self.domain_from = domain_from
        self.temperature = check_temperature(temperature)
        self.sharpness = float(sharpness)
        self.teachers = dict(teachers)
        self.preprocess = before
        self._probabilities = {domain: gives_probabilities(model) for domain, model in teachers.items()}
        self.built = True

    @staticmethod
    def _check_classes(teachers: Mapping[str, keras.Model], classes: Mapping[str, Sequence[str]]) -> None:
        domain_of: dict[str, str] = {}
        for domain, model in teachers.items():
            names, (_, count) = classes[domain], shapes(model)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names) or len(names) != count:
                raise InputError(f"classes[{domain!r}] has to name the {count} classes of {model.name}")
            for name in names:
                if name in domain_of:
                    also = "twice" if domain_of[name] == domain else f"in {domain_of[name]!r} too"
                    raise InputError(
                        f"class {name!r} of {domain!r} is named {also}: a label map's classes are distinct"
                    )
                domain_of[name] = domain

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes, in the order of the logits."""
        return tuple(name for domain in self.domains for name in self._names[domain])

    @property
    def domain_of(self) -> np.ndarray:
        """Number of the domain of each merged class, int32 `[classes]`: index it with merged labels."""
        return np.repeat(np.arange(len(self.domains), dtype=np.int32), [len(self._names[d]) for d in self.domains])

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the images, as a Functional model tells it."""
        return (None, *self._image)

    @property
    def output_shape(self) -> tuple[int | None, int]:
        """Shape of the logits."""
        return (None, len(self.class_names))

    def merged_labels(self, domain: str, y: np.ndarray) -> np.ndarray:
        """Labels of a domain's own data as merged labels, int32.

        Args:
            domain: its name.
            y: class numbers, as its teacher counts them.

        Raises:
            InputError: an unknown domain, labels that are no class numbers of its.
        """
        if domain not in self._names:
            raise InputError(f"{domain!r} is no domain: domains are {', '.join(map(repr, self.domains))}")
        y, count = np.asarray(y), len(self._names[domain])
        if y.dtype.kind not in "iu" or (y.size and not 0 <= y.min() <= y.max() < count):
            raise InputError(f"labels of {domain!r} have to be whole numbers from 0 to {count - 1}")
        return (y + int(np.flatnonzero(self.domain_of == self.domains.index(domain))[0])).astype(np.int32)

    def __call__(
        self,
        images: tf.Tensor,
        domains: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Logits of images `[batch, ...]`, given the number of each one's domain `[batch]` where it has to be given.

        Raises:
            InputError: a domain that is left undetermined, or is told where the teachers have to find it; domains that
                are no whole numbers `[batch]` or, at an eager call, out of range.
        """
        # Checked here, since Keras makes many lines of what `call` raises.
        return super().__call__(images, domains=self._checked(images, domains), training=training)

    def call(self, images: tf.Tensor, domains: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """What Keras calls: see `__call__`."""
        logits = self._teachers_logits(images, training=training)
        domain = self._log_domain(logits, domains)
        log_p = [domain[:, k, None] + tf.nn.log_softmax(z / self.temperature) for k, z in enumerate(logits)]
        return self.temperature * tf.concat(log_p, axis=-1)

    def domain_probabilities(self, images: tf.Tensor, domains: tf.Tensor | None = None) -> tf.Tensor:
        """P(k | x), `[batch, domains]`: its argmax against the true domains is the accuracy of "confidence".

        Raises:
            InputError: as a call does.
        """
        domains = self._checked(images, domains)
        images = tf.convert_to_tensor(images, tf.float32)
        return tf.exp(self._log_domain(self._teachers_logits(images, training=False), domains))

    def _teachers_logits(self, images: tf.Tensor, *, training: bool) -> list[tf.Tensor]:
        logits = []
        for domain in self.domains:
            given = self.preprocess[domain](images) if domain in self.preprocess else images
            outputs = self.teachers[domain](given, training=training)
            logits.append(to_logits(outputs, probabilities=self._probabilities[domain]))
        return logits

    def _log_domain(self, logits: Sequence[tf.Tensor], domains: tf.Tensor | None) -> tf.Tensor:
        """The log of P(k | x), `[batch, domains]`, not below LOG_OF_ZERO."""
        if self.domain_from == "confidence":
            guess = [math.log(math.log(len(self._names[domain]))) for domain in self.domains]
            below_a_guess = tf.stack([g - log_entropy(z) for g, z in zip(guess, logits, strict=True)], axis=-1)
            return tf.maximum(tf.nn.log_softmax(self.sharpness * below_a_guess), LOG_OF_ZERO)
        domains = tf.convert_to_tensor(domains)
        known = (domains >= 0) & (domains < len(self.domains))
        told = tf.one_hot(domains, len(self.domains), on_value=0.0, off_value=LOG_OF_ZERO)
        return tf.where(known[:, None], told, math.nan)

    def _checked(self, images: tf.Tensor, domains: tf.Tensor | None) -> tf.Tensor | None:
        if domains is None:
            if self.domain_from in _MISSING:
                raise InputError(
                    f"{self.name}: the domain of these images is undetermined: {_MISSING[self.domain_from]}, or build "
                    f"the label map with domain_from='confidence'"
                )
            return None
        if self.domain_from == "confidence":
            raise InputError(f"{self.name}: domain_from='confidence' finds domains itself: leave `domains` out")
        if isinstance(domains, keras.KerasTensor):
            return domains
        domains = tf.convert_to_tensor(domains)
        if not domains.dtype.is_integer or domains.shape.rank not in (1, None):
            raise InputError(f"{self.name}: domains are {domains.dtype.name} {domains.shape}: give one number an image")
        if tf.executing_eagerly() and not isinstance(images, keras.KerasTensor):
            if len(domains) != len(images):
                raise InputError(f"{self.name}: {len(domains)} domains for {len(images)} images")
            wrong = [int(k) for k in domains if not 0 <= k < len(self.domains)]
            if wrong:
                raise InputError(f"{self.name}: there is no domain {wrong[0]}: they are 0 to {len(self.domains) - 1}")
        return tf.cast(domains, tf.int32)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, and which teachers give probabilities."""
        return {
            "teachers": {d: keras.saving.serialize_keras_object(model) for d, model in self.teachers.items()},
            "classes": {domain: list(names) for domain, names in self._names.items()},
            "domain_from": self.domain_from,
            "temperature": self.temperature,
            "sharpness": self.sharpness,
            "preprocess": {d: keras.saving.serialize_keras_object(layer) for d, layer in self.preprocess.items()},
            "probabilities": dict(self._probabilities),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The label map that `get_config` described."""
        parts = {
            part: {
                domain: keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
                for domain, layer in config[part].items()
            }
            for part in ("teachers", "preprocess")
        }
        probabilities = config["probabilities"]
        made = cls(**{key: value for key, value in config.items() if key != "probabilities"} | parts)
        made._probabilities = probabilities  # which can't be seen before weights are loaded
        return made


def log_entropy(logits: tf.Tensor) -> tf.Tensor:
    """The log of the entropy of softmax(z) in nats, `[batch]`, right where the entropy itself would be 0 in float32.

    H = sum_c p_c s_c with the surprise s_c = -log p_c. That of the likeliest class is log(1 + r) with the odds r
    against it, whose logarithm is at hand.
    """
    log_p = tf.nn.log_softmax(logits)
    top = tf.one_hot(tf.argmax(logits, axis=-1), tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    log_odds = tf.reduce_logsumexp(tf.where(top, logits.dtype.min, logits), axis=-1) - tf.reduce_max(logits, axis=-1)
    odds = tf.exp(tf.maximum(log_odds, -60.0))  # log(1 + r) / r is 1 long before that
    log_surprise_of_top = log_odds + tf.math.log(tf.math.log1p(odds) / odds)
    log_surprise = tf.where(top, log_surprise_of_top[:, None], tf.math.log(tf.where(top, 1.0, -log_p)))
    return tf.reduce_logsumexp(log_p + log_surprise, axis=-1)
