"""Damages a valid .tflite in thousands of ways and runs whatever the reader lets through; prints the counts as JSON.

Its own process, because the defects it looks for are crashes and memory without bounds:
`python tflite_mutations.py FOLDER FILE,bytes|fields,runtime|twin,COUNT ...`.
"""

import collections
import json
import pathlib
import random
import resource
import sys
import tempfile

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfharden import tflite
from tfharden.errors import InputError
from tfharden.tflite import ops, shapes
from tfharden.tflite.format import schema as tables

# What may be asked for beyond what Python and the libraries have taken by then.
MEMORY = 2 * 2**30
_NUMBERS = [-(2**31), -1000, -2, -1, 0, 1, 2, 3, 4, 7, 16, 255, 1000, 65536, 2**31 - 1]
_CODES = {name: value for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def damage_bytes(content, dice):
    """Bit flips, bytes, numbers and offsets, anywhere."""
    content = bytearray(content)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        place = dice.randrange(len(content) - 8)
        word = place & ~3
        kind = dice.randrange(4)
        if kind == 0:
            content[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            content[place] = dice.randrange(256)
        elif kind == 2:
            number = dice.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, dice.randrange(len(content)), dice.randrange(64)])
            content[word : word + 4] = number.to_bytes(4, "little")
        else:
            number = int.from_bytes(content[word : word + 4], "little") + dice.choice([-4, -1, 1, 4, 8])
            content[word : word + 4] = (number % 2**32).to_bytes(4, "little")
    return bytes(content)


def damage_fields(content, dice):
    """A well-formed flatbuffer that lies about shapes, types, quantisation, operators, options or constants."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(dice.choice([1, 1, 2])):
        tensor = dice.choice(model.subgraphs[0].tensors)
        operator = dice.choice(model.subgraphs[0].operators)
        dice.choice([_shape, _type, _quantisation, _inputs, _option, _no_options, _operator, _constant])(
            model, tensor, operator, dice
        )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _shape(_, tensor, __, dice):
    shape = [] if tensor.shape is None else list(tensor.shape)
    tensor.shapeSignature = None
    if shape and dice.random() < 0.5:
        shape[dice.randrange(len(shape))] = dice.choice([0, 1, 2, 5, 64, 1000, 30_000])
    else:
        shape.insert(0, 1)
    tensor.shape = shape


def _type(_, tensor, __, dice):
    tensor.type = dice.choice([0, 1, 2, 3, 4, 6, 7, 9, 17])


def _quantisation(_, tensor, __, dice):
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        quantization = tensor.quantization = schema.QuantizationParametersT()
    count = dice.choice([1, 1, 4, 10])
    quantization.scale = [dice.choice([1e-38, 1e-10, 0.1, 100.0, 1e38])] * count
    quantization.zeroPoint = [dice.choice([-128, 0, 7])] * count
    quantization.quantizedDimension = dice.randrange(2)


def _inputs(model, _, operator, dice):
    inputs = list(operator.inputs)
    kind = dice.randrange(3)
    if kind == 0:
        inputs[dice.randrange(len(inputs))] = dice.randrange(-1, len(model.subgraphs[0].tensors))
    elif kind == 1:
        inputs.append(dice.randrange(-1, len(model.subgraphs[0].tensors)))
    else:
        inputs.pop()
    operator.inputs = inputs


def _option(_, __, operator, dice):
    options = operator.builtinOptions
    types = {field.name.replace("_", ""): field.type for field in tables.TABLES.get(type(options).__name__[:-1], ())}
    limits = {"bool": (0, 1), "i8": (-128, 127), "i32": (-(2**31), 2**31 - 1)}
    names = [name for name in vars(options) if types.get(name.lower()) in limits] if options else []
    if names:
        name = dice.choice(names)
        low, high = limits[types[name.lower()]]
        setattr(options, name, max(low, min(high, dice.choice(_NUMBERS))))


def _no_options(_, __, operator, ___):
    operator.builtinOptions, operator.builtinOptionsType = None, 0


def _operator(model, _, operator, dice):
    name = dice.choice(sorted(ops.KNOWN))
    spec = ops.KNOWN[name]
    signature, _ = spec.signatures[-1]
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = _CODES[name], min(_CODES[name], 127)
    code.version = dice.choice([1, 2])
    model.operatorCodes.append(code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    inputs = list(operator.inputs)
    count = max(len(inputs), 1) if signature.endswith("*") else len(signature)
    constants = [i for i, tensor in enumerate(model.subgraphs[0].tensors) if tensor.type == 2]
    for place, role in enumerate(signature.rstrip("*")):
        if place >= len(inputs) or role in "iInN":
            inputs[place : place + 1] = [dice.choice(constants if role in "iInN" and constants else inputs)]
    operator.inputs = inputs[:count]
    operator.builtinOptions, operator.builtinOptionsType = None, 0
    if spec.options:
        operator.builtinOptions = getattr(schema, f"{spec.options}T")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, spec.options)
        for field, value in vars(operator.builtinOptions).items():
            if isinstance(value, (int, float)):
                setattr(operator.builtinOptions, field, type(value)(dice.choice([0, 1, 1, 2, count])))


def _constant(model, tensor, _, dice):
    buffer = model.buffers[tensor.buffer]
    if tensor.type == 2 and buffer.data is not None and len(buffer.data) >= 4:
        values = np.frombuffer(bytes(buffer.data), np.int32).copy()
        values[dice.randrange(len(values))] = dice.choice(_NUMBERS)
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)


def outcome(path, use):
    """What becomes of the file: refused by the reader, stopped later in one clear line, or run."""
    try:
        file = tflite.read(path)
    except InputError:
        return "refused"
    try:
        use(file)
    except InputError as error:
        assert "\n" not in str(error)
        return "stopped"
    return "ran"


def run(file):
    """With every kernel set, in batches and one by one; no tensor is larger than was foreseen."""
    for kernels in tflite.KERNELS:
        runtime = tflite.Runtime(file, kernels=kernels, batch_size=3)
        runtime.predict(np.zeros((4, *file.input.shape[1:]), np.float32))
    interpreter = Interpreter(model_content=file.content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    foreseen = shapes.infer(file.graph)
    for step in (interpreter.allocate_tensors, interpreter.invoke):  # some shapes come about during a run
        step()
        for detail in interpreter.get_tensor_details():
            shape = foreseen.get(detail["index"])
            assert shape is None or np.prod(detail["shape"]) <= np.prod(shape), (detail, shape)


def imitate(file):
    """Logits and their gradient by the twin, of two images."""
    twin = tflite.Twin(file)
    images = tf.zeros((2, *file.input.shape[1:]))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = twin.logits(images)
    tape.gradient(logits, images)


def main():
    folder, *jobs = sys.argv[1:]
    jobs = [job.split(",") for job in jobs]
    users = {"runtime": run, "twin": imitate}
    for name, _, user, _ in jobs:
        users[user](tflite.read(pathlib.Path(folder, name)))  # loads whatever it needs
    taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    counts = [counted(pathlib.Path(folder, name), kind, users[user], int(count)) for name, kind, user, count in jobs]
    print(json.dumps(counts))


def counted(path, kind, use, count):
    """How often each outcome comes of `count` damaged copies of a file."""
    content, damage = path.read_bytes(), {"bytes": damage_bytes, "fields": damage_fields}[kind]
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        damaged = pathlib.Path(folder) / "damaged.tflite"
        for seed in range(count):
            damaged.write_bytes(damage(content, random.Random(seed)))
            print(path.name, kind, use.__name__, seed, file=sys.stderr)  # the last line tells which one crashed
            counts[outcome(damaged, use)] += 1
    return counts


if __name__ == "__main__":
    main()
