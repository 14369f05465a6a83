import json
import random

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from ai_edge_litert.interpreter import Interpreter

from tfharden.errors import InputError
from tfharden.tflite import Runtime, parse, verify
from tfharden.tflite.format import metadata
from tfharden.tflite.format.extension import SIGNATURE, extended

FACTS = {"recipe": "int8", "bounds": [0.0, 1.0], "calibration": None, "name": "Zürich\n"}
ENDS = ("picture", "scores")


@pytest.fixture(params=["int8", "uint8", "float", "baked"])
def content(request, tflite_folder):
    return (tflite_folder / f"{request.param}.tflite").read_bytes()


def model_of(content):
    return generated.Model.GetRootAs(content)


def alignments(content):
    """Where each constant starts, modulo 16."""
    buffers = [model_of(content).Buffers(i) for i in range(model_of(content).BuffersLength())]
    return [buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in buffers if buffer.DataLength()]


def with_entry(content, data, names=("tfharden",)):
    """A file in which these names stand for these bytes, packed by LiteRT's own object API."""
    model = generated.ModelT.InitFromObj(model_of(content))
    for name in names:
        buffer, entry = generated.BufferT(), generated.MetadataT()
        buffer.data = None if data is None else np.frombuffer(data, np.uint8)
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.slow
def test_round_trip(content):
    made = extended(parse(content), metadata.pack(FACTS), ENDS)
    verify(made)
    assert parse(made).metadata == FACTS


def test_a_file_without_it_has_none(content):
    assert parse(content).metadata == {}


def test_not_a_byte_of_the_old_content_changes(content):
    made = extended(parse(content), metadata.pack(FACTS), ENDS)
    assert made.count(content) == 1
    start = made.index(content)
    assert start % 16 == 0
    assert len(made) - start - len(content) < 16
    assert alignments(made)[: len(alignments(content))] == alignments(content)


def test_overhead_is_small(content):
    """Beside the entry itself: a new root, an offset for each buffer, the signature."""
    packed = metadata.pack(FACTS)
    buffers = model_of(content).BuffersLength()
    assert len(extended(parse(content), packed, ENDS)) - len(content) < len(packed["tfharden"]) + 4 * buffers + 400


def test_answers_are_the_same_to_the_bit(content):
    made = extended(parse(content), metadata.pack(FACTS), ENDS)
    for kernels in ("xnnpack", "builtin", "reference"):
        before, after = Runtime(parse(content), kernels=kernels), Runtime(parse(made), kernels=kernels)
        x = before.quantize(np.random.default_rng(0).random((20, 8, 8, 1), np.float32))
        np.testing.assert_array_equal(before.predict_raw(x), after.predict_raw(x))


def test_litert_reads_the_entry_and_the_signature(content):
    made = extended(parse(content), metadata.pack(FACTS), ENDS)
    model = model_of(made)
    entries = {model.Metadata(i).Name(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    assert json.loads(model.Buffers(entries[b"tfharden"]).DataAsNumpy().tobytes()) == FACTS
    assert b"min_runtime_version" in entries
    assert model.Version() == 3
    assert model.Description() == model_of(content).Description()
    interpreter = Interpreter(model_content=made)
    assert interpreter.get_signature_list() == {SIGNATURE: {"inputs": ["picture"], "outputs": ["scores"]}}
    spec = parse(made).input
    x = np.zeros(spec.shape, spec.dtype)
    scores = interpreter.get_signature_runner()(picture=x)["scores"]
    np.testing.assert_array_equal(scores, Runtime(parse(content)).predict_raw(x))


def test_extending_again_replaces(content):
    once = extended(parse(content), metadata.pack({"recipe": "float32"}), ("a", "b"))
    twice = extended(parse(once), metadata.pack(FACTS), ENDS)
    verify(twice)
    assert parse(twice).metadata == FACTS
    assert Interpreter(model_content=twice).get_signature_list()[SIGNATURE]["inputs"] == ["picture"]


# What others wrote under our name.


HOSTILE = {
    "text": (b"hello", "not usable JSON"),
    "empty": (b"", "not usable JSON"),
    "none": (None, "not usable JSON"),
    "list": (b"[1, 2]", "a list where an object is expected"),
    "no UTF-8": (b'{"a": "\xff"}', "not usable JSON"),
    "cut": (b'{"recipe": "in', "not usable JSON"),
    "nan": (b'{"agreement": NaN}', "NaN is no number"),
    "infinity": (b'{"agreement": -Infinity}', "-Infinity is no number"),
    "beyond floats": (b'{"agreement": 1e999}', "beyond floating point"),
    "absurd number": (b'{"parameters": ' + b"9" * 60000 + b"}", "not usable JSON"),
    "twice": (b'{"recipe": "int8", "recipe": "float32"}', "a name twice"),
    "deep": (b'{"a":' + b"[" * 60000, "not usable JSON"),
    "deep and whole": (b'{"a":' + b"[" * 30000 + b"]" * 30000 + b"}", "nested too deeply"),
    "long": (b'{"a": "' + b"x" * 2**16 + b'"}', "more than the 65536"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_is_refused_in_one_line(name, tflite_folder):
    data, message = HOSTILE[name]
    file = parse(with_entry((tflite_folder / "int8.tflite").read_bytes(), data), "stranger.tflite")
    with pytest.raises(InputError, match=message) as error:
        _ = file.metadata
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("stranger.tflite: its metadata called tfharden: ")
    assert len(str(error.value)) < 300


def test_two_entries_are_refused(tflite_folder):
    content = (tflite_folder / "int8.tflite").read_bytes()
    with pytest.raises(InputError, match="2 entries"):
        _ = parse(with_entry(content, b"{}", ("tfharden", "tfharden"))).metadata


def test_other_names_are_not_ours(tflite_folder):
    content = (tflite_folder / "int8.tflite").read_bytes()
    assert parse(with_entry(content, b"hello", ("tfharden2", "TFHARDEN"))).metadata == {}


def test_damaged_files_read_or_are_refused(tflite_folder):
    """Bits flipped in the new front of the file: an error of ours, or some object."""
    content = (tflite_folder / "int8.tflite").read_bytes()
    made = extended(parse(content), metadata.pack(FACTS), ENDS)
    front, refused = made.index(content), 0
    dice = random.Random(0)
    for _ in range(200):
        damaged = bytearray(made)
        damaged[dice.randrange(front)] ^= 1 << dice.randrange(8)
        try:
            assert isinstance(parse(bytes(damaged)).metadata, dict)
        except InputError:
            refused += 1
    assert 20 < refused < 200
