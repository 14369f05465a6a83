"""Inner layers of Keras models as outputs, and the adapters that make a student's comparable with a teacher's."""

import difflib
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import layers

from tfharden.errors import InputError

Extractor = Callable[[tf.Tensor, bool], list[tf.Tensor]]


def extractor(model: keras.Model, layer_names: Sequence[str]) -> Extractor:
    """A function `(images, training)` to the model's output and those of the named layers, in one forward pass.

    Raises:
        InputError: a layer that the model doesn't have (the message lists near names), a model without a graph.
    """
    if not layer_names:
        return lambda images, training: [model(images, training=training)]
    graph = keras.Model(model.inputs, [model.output, *(layer(model, name).output for name in layer_names)])
    return lambda images, training: graph(images, training=training)


def layer(model: keras.Model, name: str) -> layers.Layer:
    """The layer of that name.

    Raises:
        InputError: there is none (the message lists near names), or a model without a graph.
    """
    if not getattr(model, "inputs", None):
        raise InputError(f"{model.name}: features need a Functional or Sequential model")
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        raise InputError(f"{model.name} has no layer {name!r}: near names are {', '.join(near)}")
    return model.get_layer(name)


class Projection(layers.Layer):
    """Brings a student's features to the shape of a teacher's: pooled in space, projected linearly in channels.

    Args:
        student_shape: shape of the student's features without the batch.
        teacher_shape: shape of the teacher's.
        seed: of the projection's first weights.
        name: the layer's name.

    Raises:
        InputError: another rank, or maps whose sides are no multiples of one another.
    """

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        (*student_map, student_channels), (*teacher_map, teacher_channels) = student_shape, teacher_shape
        common = [min(sides) for sides in zip(student_map, teacher_map, strict=False)]
        fits = len(student_map) == len(teacher_map) and len(common) in (0, 2)
        if not fits or any(
            side % least for sides in (student_map, teacher_map) for side, least in zip(sides, common, strict=True)
        ):
            raise InputError(
                f"features of the shapes {tuple(student_shape)} and {tuple(teacher_shape)} can't be compared"
            )
        self._pool_student, self._pool_teacher = (
            [side // least for side, least in zip(sides, common, strict=True)] for sides in (student_map, teacher_map)
        )
        self._channels = None
        if student_channels != teacher_channels:
            first_weights = keras.initializers.GlorotUniform(seed)
            self._channels = layers.Dense(teacher_channels, kernel_initializer=first_weights, name="channels")
            self._channels.build((None, *student_map, student_channels))
        self.built = True

    def call(self, student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Student's and teacher's features in one shape."""
        student = _pool(tf.cast(student, tf.float32), self._pool_student)
        teacher = _pool(tf.cast(teacher, tf.float32), self._pool_teacher)
        return (student if self._channels is None else self._channels(student)), teacher


def _pool(features: tf.Tensor, factors: Sequence[int]) -> tf.Tensor:
    return features if set(factors) <= {1} else tf.nn.avg_pool2d(features, factors, factors, "VALID")
