import json
import os
import pathlib
import random
import struct
import subprocess
import sys

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated

from tfharden.errors import InputError
from tfharden.tflite import parse, verify
from tfharden.tflite.format import schema, sparsity
from tfharden.tflite.format.flatbuffer import Table

MUTATIONS = pathlib.Path(__file__).parents[1] / "_helpers" / "tflite_mutations.py"


@pytest.fixture
def content(tflite_folder):
    return (tflite_folder / "int8.tflite").read_bytes()


def edited(content, edit):
    """A well-formed flatbuffer with the change that `edit(model, graph)` makes."""
    model = generated.ModelT.InitFromObj(generated.Model.GetRootAs(content, 0))
    edit(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def constant(model, graph):
    return next(tensor for tensor in graph.tensors if tensor.buffer and model.buffers[tensor.buffer].data is not None)


@pytest.mark.slow
def test_valid_files_pass(tflite_folder):
    files = sorted(tflite_folder.glob("*.tflite"))
    assert len(files) == 6
    for file in files:
        verify(file.read_bytes())


def test_files_from_other_hands_pass(shared_models):
    assert shared_models
    for file in shared_models:
        verify(file.read_bytes())


def test_repacking_alone_changes_no_verdict(content):
    verify(edited(content, lambda model, graph: None))


def test_truncated_files_are_refused(content):
    lengths = [0, 1, 4, 7, 8, 9, *range(12, len(content), 37), len(content) - 1]
    for length in lengths:
        with pytest.raises(InputError):
            verify(content[:length])


def test_random_bytes_are_refused():
    dice = random.Random(0)
    for length in (8, 64, 1000, 100_000):
        with pytest.raises(InputError, match="no TFL3 identifier"):
            verify(dice.randbytes(length))
        for _ in range(20):
            with pytest.raises(InputError, match=r"damaged|version"):
                verify(struct.pack("<I", 8) + b"TFL3" + dice.randbytes(length))


def test_vectors_of_each_others_elements_take_no_quadratic_time():
    # A model whose 20,000 operator codes are one table each of which claims a string of 20,000 bytes.
    count = 20_000
    vtable = struct.pack("<8H", 16, 8, 0, 4, 0, 0, 0, 0)
    root = struct.pack("<i", 16) + struct.pack("<I", 4)
    header = struct.pack("<I", 24) + b"TFL3" + vtable + root
    offsets = len(header) + 4
    code_at = offsets + 4 * count + 8
    vector = struct.pack("<I", count) + b"".join(struct.pack("<I", code_at - (offsets + 4 * i)) for i in range(count))
    code = struct.pack("<4H", 8, 8, 0, 4) + struct.pack("<iI", 8, 4) + struct.pack("<I", count) + bytes(count + 4)
    with pytest.raises(InputError, match="over and over"):
        verify(header + vector + code)


def dense_index(rank):
    index = generated.SparsityParametersT()
    index.traversalOrder = list(range(rank))
    index.dimMetadata = []
    for size in (4, 3, 3, 1):
        level = generated.DimensionMetadataT()
        level.format, level.denseSize = 0, size
        index.dimMetadata.append(level)
    return index


EDITS = {
    "custom operator": (
        lambda m, g: m.operatorCodes[0].__dict__.update(
            builtinCode=32, deprecatedBuiltinCode=32, customCode="FlexErf\n"),
        r"custom operators aren't supported, and the file uses 'FlexErf\\n'",
    ),
    "control flow": (
        lambda m, g: m.operatorCodes[0].__dict__.update(builtinCode=119, deprecatedBuiltinCode=119), "WHILE"),
    "unknown operator": (
        lambda m, g: m.operatorCodes[0].__dict__.update(builtinCode=9999), "unknown operator number 9999"),
    "version": (lambda m, g: setattr(m, "version", 2), "version 2"),
    "no graph": (lambda m, g: setattr(m, "subgraphs", []), "no graph"),
    "no inputs": (lambda m, g: setattr(g, "inputs", []), "needs inputs and outputs"),
    "input index": (lambda m, g: setattr(g, "inputs", [999]), "isn't there"),
    "constant input": (lambda m, g: setattr(g, "inputs", [g.tensors.index(constant(m, g))]), "is a constant"),
    "tensor index": (lambda m, g: setattr(g.operators[0], "inputs", [0, 999, 1]), "isn't there"),
    "absent data": (lambda m, g: setattr(g.operators[0], "inputs", [-1, *g.operators[0].inputs[1:]]), "lacks an input"),
    "opcode index": (lambda m, g: setattr(g.operators[0], "opcodeIndex", 99), "has no code"),
    "buffer index": (lambda m, g: setattr(g.tensors[1], "buffer", 999), "buffer 999"),
    "buffer size": (lambda m, g: setattr(constant(m, g), "shape", [3]), "needs .* bytes and has"),
    "negative shape": (lambda m, g: setattr(g.tensors[0], "shape", [1, -8, 8, 1]), "impossible shape"),
    "absurd shape": (lambda m, g: setattr(g.tensors[0], "shape", [0, 2**20, 2**20, 1]), "absurd shape"),
    "infinite scale": (
        lambda m, g: setattr(g.tensors[0].quantization, "scale", [float("inf")]), "isn't finite and positive"),
    "zero scale": (lambda m, g: setattr(g.tensors[0].quantization, "scale", [0.0]), "isn't finite and positive"),
    "many scales": (lambda m, g: g.tensors[0].quantization.__dict__.update(
        scale=[1.0] * 3, zeroPoint=[0] * 3, quantizedDimension=1), "3 scales for shape"),
    "zero points": (lambda m, g: setattr(g.tensors[0].quantization, "zeroPoint", [0, 0]), "not as many zero points"),
    "zero point": (lambda m, g: setattr(g.tensors[0].quantization, "zeroPoint", [128]), "outside -128..127"),
    "strings": (lambda m, g: setattr(g.tensors[0], "type", 5), "element type 5"),
    "order": (lambda m, g: g.operators.reverse(), "before it is made"),
    "made twice": (
        lambda m, g: setattr(g.operators[1], "outputs", g.operators[0].outputs), "already there|before it is made"),
    "cycle": (lambda m, g: setattr(g.operators[0], "inputs", [
        g.operators[-1].outputs[0], *g.operators[0].inputs[1:]]), "before it is made"),
    "stride": (lambda m, g: setattr(g.operators[0].builtinOptions, "strideW", 0), "not positive"),
    "options": (lambda m, g: g.operators[0].__dict__.update(
        builtinOptionsType=generated.BuiltinOptions.AddOptions, builtinOptions=generated.AddOptionsT()),
        "options of another operator"),
    "few inputs": (lambda m, g: setattr(g.operators[0], "inputs", g.operators[0].inputs[:1]), "has 1 inputs"),
    "sparse weights": (
        lambda m, g: setattr(g.tensors[g.operators[0].inputs[1]], "sparsity", dense_index(4)), "is sparse"),
    "special layout": (lambda m, g: setattr(next(
        o for o in g.operators if isinstance(o.builtinOptions, generated.FullyConnectedOptionsT)
    ).builtinOptions, "weightsFormat", 1), "special layout"),
    "beta": (lambda m, g: (
        m.operatorCodes[g.operators[-1].opcodeIndex].__dict__.update(builtinCode=25, deprecatedBuiltinCode=25),
        g.operators[-1].__dict__.update(inputs=g.operators[-1].inputs[:1], builtinOptions=None, builtinOptionsType=0),
    ), "beta"),
    "state": (lambda m, g: setattr(g.tensors[0], "isVariable", True), "keeps state"),
    "types": (lambda m, g: setattr(g.tensors[g.operators[0].outputs[0]], "type", 3), "."),
    "metadata": (lambda m, g: setattr(m.metadata[0], "buffer", 999), "metadata"),
    "signature": (lambda m, g: setattr(m.signatureDefs[0], "subgraphIndex", 7), "a signature without"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_lies_are_refused_in_one_clear_line(content, name):
    edit, message = EDITS[name]
    with pytest.raises(InputError, match=message) as caught:
        verify(edited(content, edit))
    assert "\n" not in str(caught.value)


def test_claims_of_sizes_that_depend_on_the_batch_are_1_or_true(content):
    """LiteRT shows what a file claims until a run makes the true shape, as of a RESHAPE to a shape made of another."""
    graph = parse(content).graph
    made = [tensor for operator in graph.operators for tensor in operator.outputs if tensor.signature[:1] == (-1,)]
    assert len(made) > 4

    def claiming(size, *indices):
        def edit(_, graph):
            for index in indices:
                graph.tensors[index].shape = [size, *graph.tensors[index].shape[1:]]

        return edited(content, edit)

    for tensor in made:
        for size in (0, 2, 60):
            with pytest.raises(InputError, match=rf"makes \(1, .*\), but tensor {tensor.index} .* claims \({size}, "):
                verify(claiming(size, tensor.index))
    verify(claiming(2, graph.input.index))
    verify(claiming(2, graph.input.index, *(tensor.index for tensor in made)))


def test_schema_is_that_of_litert():
    """Each generated `TableAddField(builder, value)` tells its slot and scalar type to a builder that listens."""
    compared = 0
    for table, fields in schema.TABLES.items():
        slots = {}
        for name, function in vars(generated).items():
            if name.startswith(f"{table}Add") and callable(function):
                listener = _Listener()
                function(listener, 0)
                slots[listener.slot] = (listener.type, name.removeprefix(f"{table}Add"))
        for slot, field in enumerate(fields):
            if slot not in slots:  # deprecated: the slot remains, the accessor doesn't
                assert field.name in ("deprecated_tag", "new_height", "new_width")
                continue
            type_, name = slots.pop(slot)
            assert name.lower() == field.name.replace("_", ""), (table, field)
            assert type_ == (_GENERATED[field.type] if field.kind == "scalar" else "UOffsetTRelative"), (table, field)
            compared += 1
        assert not slots, (table, slots)
    assert compared > 150


_GENERATED = {"bool": "Bool", "i8": "Int8", "u8": "Uint8", "u16": "Uint16", "i32": "Int32", "u32": "Uint32",
              "f32": "Float32", "i64": "Int64", "u64": "Uint64"}  # fmt: skip


class _Listener:
    def __getattr__(self, name):
        def prepend(slot, *_):
            self.slot, self.type = slot, name.removeprefix("Prepend").removesuffix("Slot")

        return prepend


def _sparse(segments, indices):
    dense = Table(format=0, dense_size=2, array_segments=None, array_indices=None)
    compressed = Table(format=1, dense_size=0, array_segments=Table(values=np.array(segments)),
                       array_indices=Table(values=np.array(indices)))  # fmt: skip
    return Table(traversal_order=np.array([0, 1]), block_map=None, dim_metadata=[dense, compressed])


def test_sparse_index():
    assert sparsity.stored_elements(_sparse([0, 1, 3], [2, 0, 1]), (2, 3), "x") == 3
    wrong = ([0, 1, 3], [3, 0, 1]), ([0, 4, 3], [0, 0, 1]), ([0, 3], [0, 1, 2]), ([1, 1, 3], [0, 1, 2])
    for segments, indices in wrong:
        with pytest.raises(InputError, match="sparse index"):
            sparsity.stored_elements(_sparse(segments, indices), (2, 3), "x")


# Damaged copies of each file, whose tensors, operators and options lie or whose bytes are wrong.
FUZZED = (
    ("int8.tflite", "bytes", "runtime", 300), ("int8.tflite", "fields", "runtime", 250),
    ("float.tflite", "fields", "runtime", 100), ("int8.tflite", "fields", "twin", 120),
    ("float.tflite", "fields", "twin", 60),
)  # fmt: skip


@pytest.mark.slow
def test_what_is_not_refused_runs_without_a_crash(tflite_folder):
    jobs = [",".join(map(str, job)) for job in FUZZED]
    command = [sys.executable, str(MUTATIONS), str(tflite_folder), *jobs]
    environment = os.environ | {"PYTHONPATH": str(MUTATIONS.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, env=environment)
    assert done.returncode == 0, f"exit status {done.returncode} after {done.stderr[-300:]}"
    for (*_, count), counts in zip(FUZZED, json.loads(done.stdout), strict=True):
        assert sum(counts.values()) == count
        # Mutations that are all refused, or all harmless, test nothing.
        assert counts["refused"] > count / 10
        assert counts["ran"] > count / 20
