"""Small .tflite files of a few operators, honest or not, made field by field."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {np.float32: 0, np.int32: 2, np.int64: 4, np.int8: 9}
_CODES = vars(schema.BuiltinOperator)
_VERSIONS = {"BROADCAST_TO": 2}  # LiteRT has no first


def file(tensors, operators, source, target):
    """A file's bytes.

    `tensors` maps names to constants, or to `(shape, type)`; `operators` are (opcode, inputs, outputs, options), where
    options is a table of LiteRT's schema such as `schema.Pool2DOptionsT`, or None.
    """
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    for name, value in tensors.items():
        tensor = schema.TensorT()
        tensor.name = name
        shape, type_ = (value.shape, value.dtype.type) if isinstance(value, np.ndarray) else value
        tensor.shape, tensor.type = list(shape), _TYPES[type_]
        if isinstance(value, np.ndarray):
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(value.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers) - 1
        if type_ is np.int8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [0]
        graph.tensors.append(tensor)
    places = {name: place for place, name in enumerate(tensors)}
    for opcode, inputs, outputs, options in operators:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode = _CODES[opcode], min(_CODES[opcode], 127)
        code.version = _VERSIONS.get(opcode, 1)
        model.operatorCodes.append(code)
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs = [places[name] for name in inputs.split()]
        operator.outputs = [places[name] for name in outputs.split()]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [places[source]], [places[target]]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def options(table, **fields):
    """Options of an operator; the name of their table, and its fields as LiteRT's schema spells them."""
    made = getattr(schema, f"{table}T")()
    vars(made).update(fields)
    return made
