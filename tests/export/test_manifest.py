import collections
import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import types

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import tfharden as th
from tests._helpers.exporting import CLASSES, SHAPE, classifier, images, interpreted, one_line
from tfharden.errors import InputError
from tfharden.export import Manifest
from tfharden.tflite import latency as timing
from tfharden.tflite import read

MODEL = classifier("cnn")
# Three convolutions of 3x3 (8x8, 8x8 and 4x4 places; 8, 12 and 16 channels), and the logits of 2x2x16 values.
MULTIPLY_ADDS = 64 * 8 * 9 * 1 + 64 * 12 * 9 * 8 + 16 * 16 * 9 * 12 + 64 * CLASSES


def labelled():
    """Images, and labels of which the model gets about a half right."""
    x = images(40, seed=5)
    labels = MODEL.predict(x, verbose=0).argmax(axis=-1)
    return x, np.where(np.arange(40) % 2, labels, (labels + 1) % CLASSES)


@pytest.fixture(scope="module", params=["float32", "int8-uint8"])
def artifact(request):
    return th.export.to_tflite(MODEL, request.param, images())


@pytest.fixture(scope="module")
def int8():
    artifact = th.export.to_tflite(MODEL, "int8", images())
    return artifact, th.export.manifest(artifact, MODEL, labelled(), rounds=1)


def test_numbers_of_the_file(artifact):
    manifest, content = th.export.manifest(artifact, MODEL, rounds=1), artifact.file.content
    assert manifest.sha256 == hashlib.sha256(content).hexdigest()
    assert manifest.bytes == len(content)
    assert gzip.decompress(gzip.compress(content, 9)) == content
    # Without the name and time that a gzip file may hold.
    assert manifest.gzip_bytes == len(gzip.compress(content, 9, mtime=0))
    assert manifest.parameters == MODEL.count_params()
    assert manifest.multiply_adds == MULTIPLY_ADDS
    assert manifest.recipe == artifact.recipe
    assert manifest.evaluation is manifest.arena_bytes is None


def test_operators_types_and_ends_are_those_of_litert(artifact):
    manifest = th.export.manifest(artifact, MODEL, rounds=1)
    interpreter = Interpreter(model_content=artifact.file.content)
    details = interpreter.get_tensor_details()
    assert manifest.operators == collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert manifest.dtypes == collections.Counter(np.dtype(tensor["dtype"]).name.upper() for tensor in details)
    ends = (manifest.input, interpreter.get_input_details()[0]), (manifest.output, interpreter.get_output_details()[0])
    for told, expected in ends:
        assert told["name"] == expected["name"]
        assert told["shape"] == list(expected["shape"])
        assert told["dtype"] == np.dtype(expected["dtype"]).name
        assert (np.float32(told["scale"]), told["zero_point"]) == expected["quantization"]


def test_accuracy_and_agreement_are_those_of_a_bare_interpreter(artifact):
    x, y = labelled()
    got = interpreted(artifact.file.content, x)[0].argmax(axis=-1)
    expected = MODEL.predict(x, verbose=0).argmax(axis=-1)
    told = th.export.manifest(artifact, MODEL, (x, y), rounds=1).evaluation
    assert told["accuracy"] == np.mean(got == y)
    assert told["source_accuracy"] == np.mean(expected == y) == 0.5
    assert told["agreement"] == np.mean(got == expected)
    assert told["examples"] == 40
    assert told["sha256"] == th.data.sha256((x, y.astype(np.int32)))


def test_what_export_found_is_kept(int8):
    artifact, manifest = int8
    assert (manifest.agreement, manifest.largest_error) == (artifact.agreement, artifact.largest_error)
    assert manifest.calibration == dataclasses.asdict(artifact.calibration)
    assert (manifest.per_channel_dense, manifest.dynamic_batch, manifest.bounds) == (True, False, (0.0, 1.0))
    assert manifest.source == {"name": "cnn", "sha256": th.KerasClassifier(MODEL).fingerprint()}
    for package in ("tensorflow", "keras", "ai-edge-litert"):
        assert manifest.versions[package] == importlib.metadata.version(package)


def test_metadata_in_the_file_is_a_copy(int8):
    artifact, manifest = int8
    inside = artifact.file.metadata
    assert inside["schema"] == "tfharden.export/1"
    for name in ("recipe", "calibration", "per_channel_dense", "parameters", "multiply_adds"):
        assert inside[name] == getattr(manifest, name)
    assert tuple(inside["bounds"]) == manifest.bounds
    assert inside["agreement"] == round(manifest.agreement, 4)
    assert inside["versions"].items() <= manifest.versions.items()
    # It goes into flash.
    assert len(json.dumps(inside)) < 450


def test_latency_is_the_median_of_rounds(int8, monkeypatch):
    """A clock that tells 1, 2 and 9 seconds for three rounds of 40 images."""
    ticks = iter([0, 9, 10, 11, 20, 22])
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: next(ticks)))
    latency = th.export.manifest(int8[0], MODEL, labelled(), threads=2, rounds=3, kernels="builtin").latency
    assert latency == {"seconds": 2 / 40, "threads": 2, "rounds": 3, "images": 40, "kernels": "builtin"}


def test_latency_is_plausible(int8):
    assert 1e-7 < int8[1].latency["seconds"] < 0.1
    assert int8[1].latency["threads"] == 1


# On disk.


def test_save_and_load(int8, tmp_path):
    artifact, manifest = int8
    artifact.save(tmp_path / "student_int8.tflite", manifest)
    assert {path.name for path in tmp_path.iterdir()} == {"student_int8.tflite", "student_int8.json"}
    assert Manifest.load(tmp_path / "student_int8.json") == manifest
    content = json.loads((tmp_path / "student_int8.json").read_text())
    assert content["schema"] == "tfharden.manifest/1"
    assert set(content) == {"schema", *(field.name for field in dataclasses.fields(Manifest))}
    assert content["sha256"] == read(tmp_path / "student_int8.tflite").sha256
    measured = dataclasses.replace(manifest, arena_bytes=9728)
    measured.save(tmp_path / "other.json")
    assert Manifest.load(tmp_path / "other.json").arena_bytes == 9728


@pytest.mark.parametrize("first", [True, False], ids=["tflite", "json"])
def test_full_disk_leaves_nothing(int8, tmp_path, monkeypatch, first):
    """Whether the space ends at the file or at the manifest."""
    artifact, manifest = int8
    write, calls = type(tmp_path).write_bytes, []

    def full(path, content):
        calls.append(path)
        if first or len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(path, content)

    path = tmp_path / "model.tflite"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(InputError, match="No space left") as error:
            artifact.save(path, manifest)
    assert one_line(error)
    assert ("model.tflite" if first else "model.json") in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_another_file_is_refused(int8, tmp_path):
    artifact, manifest = int8
    artifact.save(tmp_path / "model.tflite", manifest)
    (tmp_path / "model.tflite").write_bytes(artifact.file.content + b"x")
    with pytest.raises(InputError, match=r"model\.json: it belongs to another file than model\.tflite") as error:
        Manifest.load(tmp_path / "model.json")
    assert one_line(error)


def changed(**fields):
    return lambda content: json.dumps(content | fields)


DAMAGED = {
    "empty": (lambda _: "", "not usable JSON"),
    "cut": (lambda content: json.dumps(content)[:-1], "not usable JSON"),
    "list": (lambda _: "[]", "a list where an object"),
    "report": (changed(schema="tfharden.report/1"), "isn't a tfharden.manifest/1"),
    "no schema": (lambda _: "{}", "isn't a tfharden.manifest/1"),
    "missing": (lambda content: json.dumps({k: v for k, v in content.items() if k != "bytes"}), "lacks bytes"),
    "unknown": (changed(more=1), "unknown more"),
    "hash": (changed(sha256="../../etc/passwd"), "sha256 isn't"),
    "negative": (changed(parameters=-1), "parameters isn't"),
    "fraction": (changed(bytes=1.5), "bytes isn't"),
    "truth": (changed(bytes=True), "bytes isn't"),
    "text": (changed(multiply_adds="many"), "multiply_adds isn't"),
    "share": (changed(agreement=1.5), "agreement isn't"),
    "bounds": (changed(bounds=[1, 0]), "bounds isn't"),
    "operators": (changed(operators={"ADD": -1}), "operators isn't"),
    "input": (changed(input={"name": "image"}), "input isn't"),
    "versions": (changed(versions=["3.11"]), "versions isn't"),
    "evaluation": (changed(evaluation={"accuracy": 1.0}), "evaluation isn't"),
    "nan": (changed(largest_error=float("nan")), "NaN"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_manifests_are_refused_in_one_line(name, int8, tmp_path):
    damage, message = DAMAGED[name]
    (tmp_path / "model.json").write_text(damage(json.loads(int8[1].json())))
    with pytest.raises(InputError, match=message) as error:
        Manifest.load(tmp_path / "model.json")
    assert one_line(error)
    assert "model.json: " in str(error.value)


def test_missing_manifest(tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match="can't read") as error:
            Manifest.load(path)
        assert one_line(error)


# Input that is refused.


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"threads": 0}, "threads"),
        ({"rounds": 0}, "rounds=0 has to be at least 1"),
        ({"kernels": "magic"}, "unknown kernels 'magic'"),
        ({"examples": (images(), np.full(64, CLASSES))}, "labels span"),
        ({"examples": (images(), np.zeros(3))}, "64 images and 3 labels"),
        ({"examples": (255 * images(), np.zeros(64))}, "span"),
        ({"examples": (images(0), np.zeros(0))}, "empty"),
    ],
    ids=["threads", "rounds", "kernels", "labels", "counts", "range", "empty"],
)
def test_measuring_what_cannot_be_measured(options, match, int8):
    with pytest.raises(InputError, match=match) as error:
        th.export.manifest(int8[0], MODEL, **options)
    assert one_line(error)


def test_a_model_of_other_shapes_is_not_the_source(int8):
    with pytest.raises(InputError, match="wasn't made of cnn") as error:
        th.export.manifest(int8[0], th.models.cnn((*SHAPE[:2], 3), CLASSES))
    assert one_line(error)
