"""Inner layers of Keras models as outputs, and projections that make a student's comparable with a teacher's."""

import difflib
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import layers

from tfharden.errors import InputError
from tfharden.graphs import rebuilt

Extractor = Callable[[tf.Tensor, bool], list[tf.Tensor]]


def extractor(model: keras.Model, paths: Sequence[str]) -> Extractor:
    """A function `(images, training)` to the model's first output and those of the layers, in one forward pass.

    Args:
        model: the model; Functional or Sequential as soon as there are layers to look at.
        paths: names of layers; `backbone/block3` is a layer of the nested model `backbone`.

    Raises:
        InputError: a layer that the model doesn't have (the message lists near names), a model without a graph.
    """
    if not paths:
        return lambda images, training: [model(images, training=training)]
    opened = _opened(model, paths)
    graph = keras.Model(opened.input, [opened.outputs[0], *opened.outputs[len(model.outputs) :]])
    return lambda images, training: graph(images, training=training)


def classifier(model: keras.Model) -> keras.Model:
    """The model up to its first output, which is the one that classifies; the model itself if it has no other."""
    outputs = getattr(model, "outputs", None) or []
    return keras.Model(model.input, outputs[0], name=model.name) if len(outputs) > 1 else model


def layer(model: keras.Model, path: str) -> layers.Layer:
    """The layer of that name, or of that path through nested models.

    Raises:
        InputError: there is none (the message lists near names), or a model without a graph.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(f"{model.name} shows no inner layers: features need a Functional or Sequential model")
    name, _, rest = path.partition("/")
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        raise InputError(f"{model.name} has no layer {name!r}: near names are {', '.join(near)}")
    found = model.get_layer(name)
    return layer(found, rest) if rest else found


def _opened(model: keras.Model, paths: Sequence[str]) -> keras.Model:
    """The same layers in a new graph that also gives the outputs of those at `paths`, nested ones too."""
    inner: dict[str, list[str]] = {}
    for path in paths:
        layer(model, path)  # says what is missing
        name, _, rest = path.partition("/")
        inner.setdefault(name, []).append(rest)
    found: dict[str, keras.KerasTensor] = {}

    def call(operation: layers.Layer, *given: object, **settings: object) -> object:
        wanted = [rest for rest in inner.get(operation.name, ()) if rest]
        if not wanted:
            output = operation(*given, **settings)
        else:
            own, several = len(operation.outputs), _opened(operation, wanted)(*given, **settings)
            output = several[0] if own == 1 else several[:own]
            for rest, feature in zip(wanted, several[own:], strict=True):
                found.setdefault(f"{operation.name}/{rest}", feature)
        found.setdefault(operation.name, output)
        return output

    again = rebuilt(model, call)
    return keras.Model(again.input, [*again.outputs, *(found[path] for path in paths)])


class Projection(layers.Layer):
    """Brings a student's features to the shape of a teacher's: pooled in space, projected linearly in channels.

    Args:
        student_shape: shape of the student's features without the batch.
        teacher_shape: shape of the teacher's.
        seed: of the projection's first weights.
        name: the layer's name.
        channels: False leaves the channels as they are, for losses that don't compare them; then nothing is trained.

    Raises:
        InputError: another rank, or maps whose sides are no multiples of one another.
    """

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        seed: int = 0,
        name: str | None = None,
        *,
        channels: bool = True,
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
        if channels and student_channels != teacher_channels:
            first_weights = keras.initializers.GlorotUniform(seed)
            self._channels = layers.Dense(teacher_channels, kernel_initializer=first_weights, name="channels")
            self._channels.build((None, *student_map, student_channels))
        self.built = True

    def call(self, student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Student's and teacher's features in one shape, but for channels that are left as they are."""
        student = _pool(tf.cast(student, tf.float32), self._pool_student)
        teacher = _pool(tf.cast(teacher, tf.float32), self._pool_teacher)
        return (student if self._channels is None else self._channels(student)), teacher


def _pool(features: tf.Tensor, factors: Sequence[int]) -> tf.Tensor:
    return features if set(factors) <= {1} else tf.nn.avg_pool2d(features, factors, factors, "VALID")
