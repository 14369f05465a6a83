"""What can't be exported, in a line each that names the layer at fault where it can be found."""

import re

import keras
import tensorflow as tf

from tfharden.errors import InputError
from tfharden.export import origins
from tfharden.export.artifact import ExportError
from tfharden.export.mcu import operators as micro
from tfharden.export.recipes import Recipe
from tfharden.tflite import TFLiteFile, operators
from tfharden.tflite.format import flatbuffer, schema, verifier

_LOOPS = ("While", "StatelessWhile")
# Between integers and floats; they compute nothing.
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def check_graph(graph: tf.Graph, model: keras.Model) -> None:
    """Refuses what would end the process, in TensorFlow's calibrator.

    Raises:
        ExportError: there is a loop in it.
    """
    if any(operation.type in _LOOPS for operation in graph.get_operations()):
        told = f"{model.name} has a loop in it{origins.of_kinds(_LOOPS, graph, model)}"
        raise ExportError(f"{told}, which no built-in operator does: unroll=True unrolls it")


def reason(error: Exception, graph: tf.Graph, model: keras.Model) -> str:
    """The converter's reason in a line; of its pages on what it has no operator for, the names."""
    said = str(error).strip() or type(error).__name__
    listed = re.search(r"^(?:Custom|Flex) ops: (.+)$", said, re.MULTILINE)
    missing = listed[1].split(", ") if listed else list(dict.fromkeys(re.findall(r"error: 'tf\.(\w+)' op", said)))
    if missing:
        return f"no built-in operator does {', '.join(missing)}{origins.of_kinds(missing, graph, model)}"
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
    graph = verifier.parse(file.content).subgraphs[0]
    missing = [operator for operator in graph.operators if operator.opcode not in micro.SUPPORTED]
    if missing:
        raise ExportError(
            f"the {recipe.name} file of {model.name} doesn't run on microcontrollers: LiteRT has no "
            f"{_listed(missing)} there{_where(missing, graph, model)}"
        )
    floats = [operator for operator in graph.operators if _computes_in_floats(operator, graph)]
    if recipe.element != "FLOAT32" and floats:
        raise ExportError(
            f"the {recipe.name} file of {model.name} isn't integers throughout, as a microcontroller needs it: the "
            f"converter leaves {_listed(floats)} in floats{_where(floats, graph, model)}"
        )


def _listed(some: list[flatbuffer.Table]) -> str:
    return ", ".join(sorted({operator.opcode for operator in some}))


def _where(some: list[flatbuffer.Table], graph: flatbuffer.Table, model: keras.Model) -> str:
    """The layers of operators, by what they make."""
    return origins.told((graph.tensors[index].name or "" for operator in some for index in operator.outputs), model)


def _computes_in_floats(operator: flatbuffer.Table, graph: flatbuffer.Table) -> bool:
    tensors = (graph.tensors[index] for index in [*operator.inputs, *operator.outputs] if index >= 0)
    return operator.opcode not in _CONVERSIONS and any(tensor.element.name == "FLOAT32" for tensor in tensors)


def _unknown(content: bytes, model: keras.Model) -> str:
    """Where operators come from that the verifier doesn't know."""
    try:
        tree = flatbuffer.read(content)
    except InputError:
        return ""
    names = schema.operator_names()
    codes = [names.get(max(code.builtin_code, code.deprecated_builtin_code)) for code in tree.operator_codes or []]
    for graph in tree.subgraphs or []:
        for operator in graph.operators or []:
            if codes[operator.opcode_index] not in operators.SIGNATURES and operator.outputs is not None:
                return _where([operator], graph, model)
    return ""
