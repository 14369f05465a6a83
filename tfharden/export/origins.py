"""Which layers of a Keras model the operators of a converted graph come from, by the name scopes that Keras opens."""

import re
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

# The converter joins the names of what it fuses.
_JOINED = ";"
# A scope that is opened again gets a number: Keras opens that of a layer once to build it, and once to call it.
_NUMBER = re.compile(r"_\d+$")


def told(names: Iterable[str], model: keras.Model) -> str:
    """The layers that tensors or operations of these names come from, as words to append; empty if none is known."""
    return _words("", (_layer(part, model) for name in names for part in name.split(_JOINED)))


def of_kinds(kinds: Iterable[str], graph: tf.Graph, model: keras.Model) -> str:
    """The same for the operations of some kinds: the layers that they are in, or the last ones before them."""
    kinds = set(kinds)
    some = [operation for operation in graph.get_operations() if operation.type in kinds]
    return told((operation.name for operation in some), model) or _words("after ", _before(some, model))


def _before(operations: list[tf.Operation], model: keras.Model) -> Iterator[str | None]:
    """What keras.ops and operators do between layers is in no layer's scope."""
    seen, waiting = set(), list(operations)
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op in seen:
                continue
            seen.add(tensor.op)
            layer = _layer(tensor.op.name, model)
            yield layer
            if layer is None:
                waiting.append(tensor.op)


def _layer(name: str, model: keras.Model) -> str | None:
    """The layer of the model, or of models within it, in whose scope a name is."""
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    found = None
    for scope in name.split("/"):
        layer = layers.get(_NUMBER.sub("", scope)) or layers.get(scope)
        if layer is None:
            continue
        found = layer.name
        if not isinstance(layer, keras.Model):
            break
    return found


def _words(before: str, layers: Iterable[str | None]) -> str:
    names = list(dict.fromkeys(layer for layer in layers if layer is not None))
    if not names:
        return ""
    return f" ({before}layer{'s' if len(names) > 1 else ''} {', '.join(names)})"
