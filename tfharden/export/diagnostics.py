"""Diagnostics of models that can't be exported: a line each, with the layer at fault where it can be found.

Operators of a converted graph are traced to layers by the name scopes that Keras opens.
"""

import re
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

from tfharden.errors import InputError
from tfharden.export.artifact import ExportError
from tfharden.export.mcu import operators as micro
from tfharden.export.recipes import Recipe
from tfharden.tflite import TFLiteFile, ops
from tfharden.tflite.format import flatbuffer, verifier
from tfharden.tflite.graph import Operator

_LOOPS = ("While", "StatelessWhile")
# Between integers and floats; they compute nothing.
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# The converter joins the names of what it fuses.
_JOINED = ";"
# A scope that is opened again gets a number: Keras opens that of a layer once to build it, and once to call it.
_NUMBER = re.compile(r"_\d+$")


def check_graph(graph: tf.Graph, model: keras.Model) -> None:
    """Refuses what would end the process, in TensorFlow's calibrator.

    Raises:
        ExportError: there is a loop in it.
    """
    if any(operation.type in _LOOPS for operation in graph.get_operations()):
        told = f"{model.name} has a loop in it{_layers_of_kinds(_LOOPS, graph, model)}"
        raise ExportError(f"{told}, which no built-in operator does: unroll=True unrolls it")


def reason(error: Exception, graph: tf.Graph, model: keras.Model) -> str:
    """The converter's reason in a line; of its pages on what it has no operator for, the names."""
    said = str(error).strip() or type(error).__name__
    listed = re.search(r"^(?:Custom|Flex) ops: (.+)$", said, re.MULTILINE)
    missing = listed[1].split(", ") if listed else list(dict.fromkeys(re.findall(r"error: 'tf\.(\w+)' op", said)))
    if missing:
        return f"no built-in operator does {', '.join(missing)}{_layers_of_kinds(missing, graph, model)}"
    # What comes before it is where in TensorFlow's own files it was found.
    return said.splitlines()[0].rpartition("error: ")[2]


def unusable(error: InputError, content: bytes, model: keras.Model) -> ExportError:
    """The error for a file of the converter that the verifier refuses."""
    return ExportError(f"the converter made an unusable file: {error}{_unknown(content, model)}")


def check_micro(file: TFLiteFile, recipe: Recipe, model: keras.Model) -> None:
    """Refuses what a microcontroller doesn't run: operators that LiteRT lacks there, and floats among integers.

    Raises:
        ExportError: so it does; the line names operators and layers.
    """
    operators = file.graph.operators
    missing = [operator for operator in operators if operator.opcode not in micro.SUPPORTED]
    if missing:
        raise ExportError(
            f"the {recipe.name} file of {model.name} doesn't run on microcontrollers: LiteRT has no "
            f"{_listed(missing)} there{_layers_of_operators(missing, model)}"
        )
    floats = [operator for operator in operators if _computes_in_floats(operator)]
    if recipe.element != "FLOAT32" and floats:
        raise ExportError(
            f"the {recipe.name} file of {model.name} isn't integers throughout, as a microcontroller needs it: the "
            f"converter leaves {_listed(floats)} in floats{_layers_of_operators(floats, model)}"
        )


def _listed(some: list[Operator]) -> str:
    return ", ".join(sorted({operator.opcode for operator in some}))


def _layers_of_operators(some: list[Operator], model: keras.Model) -> str:
    """The layers of operators, by what they make."""
    return _layers_of_names((tensor.name for operator in some for tensor in operator.outputs), model)


def _computes_in_floats(operator: Operator) -> bool:
    tensors = (*operator.inputs, *operator.outputs)
    return operator.opcode not in _CONVERSIONS and any(t.element == "FLOAT32" for t in tensors if t is not None)


def _unknown(content: bytes, model: keras.Model) -> str:
    """Where operators come from that the verifier doesn't know."""
    try:
        tree = flatbuffer.read(content)
    except InputError:
        return ""
    codes = [verifier.opcode_name(code) for code in tree.operator_codes or []]
    for graph in tree.subgraphs or []:
        for operator in graph.operators or []:
            if codes[operator.opcode_index] not in ops.KNOWN and operator.outputs is not None:
                return _layers_of_names((graph.tensors[index].name or "" for index in operator.outputs), model)
    return ""


def _layers_of_names(names: Iterable[str], model: keras.Model) -> str:
    """The layers that tensors or operations of these names come from, as words to append; empty if none is known."""
    return _words("", (_layer(part, model) for name in names for part in name.split(_JOINED)))


def _layers_of_kinds(kinds: Iterable[str], graph: tf.Graph, model: keras.Model) -> str:
    """The same for the operations of some kinds: the layers that they are in, or the last ones before them."""
    kinds = set(kinds)
    some = [operation for operation in graph.get_operations() if operation.type in kinds]
    return _layers_of_names((operation.name for operation in some), model) or _words("after ", _before(some, model))


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
