import dataclasses
import hashlib
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

import tfharden as th
from tests._helpers.exporting import one_line
from tests._helpers.mcu_models import (
    SHARED,
    converted,
    digits,
    images,
    int8,
    micro_interpreter,
    needs_micro,
    text_of,
    trained,
)
from tfharden.errors import InputError
from tfharden.export import ExportError, mcu_kit
from tfharden.export.mcu import arena, golden_vectors, sources
from tfharden.tflite import parse, read


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mcu_kit(int8(), images(), tmp_path_factory.mktemp("kits") / "made" / "kit").folder


@pytest.fixture
def no_micro(monkeypatch):
    monkeypatch.setattr(arena, "PACKAGE", "no_such_package")


def numbers(text, name):
    """The integers of a C++ array."""
    (body,) = re.findall(rf"{name}(?:\[\w*\])+ = {{(.*?)\n}};", text, flags=re.DOTALL)
    return [int(word, 0) for word in re.findall(r"-?\b(?:0x[0-9a-f]{2}|\d+)\b", body)]


def vectors_in(folder):
    text = (folder / "golden.h").read_text()
    inputs = np.array(numbers(text, "kGoldenInputs"), np.int8).reshape(10, 8, 8, 1)
    return inputs, np.array(numbers(text, "kGoldenOutputs"), np.int8).reshape(10, 10)


def reference(content, stored):
    """What LiteRT's reference kernels answer, called as its manual says."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    outputs = []
    for image in stored:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(outputs)


def micro(content, stored):
    """What tflite-micro answers."""
    interpreter = micro_interpreter(content, 2**20)
    outputs = []
    for image in stored:
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0])
    return np.array(outputs)


@pytest.mark.slow
def test_array_holds_the_file(folder):
    text = (folder / "model.cc").read_text()
    assert bytes(numbers(text, "g_model")) == int8().content
    assert "alignas(16) const unsigned char g_model[]" in text
    assert f"const unsigned int g_model_len = {len(int8().content)};" in text
    assert int8().sha256 in text


def test_golden_vectors_are_answers_of_the_reference_kernels(folder):
    inputs, outputs = vectors_in(folder)
    np.testing.assert_array_equal(outputs, reference(int8().content, inputs))
    assert len({image.tobytes() for image in inputs}) == 10
    # They are the images that were given, as the input stores them, and not all of one class.
    spec = int8().input
    stored = np.clip(np.rint(images() / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
    given = {image.tobytes() for image in stored}
    assert all(image.tobytes() in given for image in inputs)
    assert len(set(outputs.argmax(axis=-1))) > 3


@needs_micro
def test_golden_vectors_are_answers_of_tflite_micro(folder):
    inputs, outputs = vectors_in(folder)
    np.testing.assert_array_equal(outputs, micro(int8().content, inputs))


@needs_micro
def test_agreement_is_counted(tmp_path):
    x = digits().test[0]
    kit = mcu_kit(int8(), x, tmp_path)
    spec = int8().input
    stored = np.clip(np.rint(x / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
    stored = stored[np.linspace(0, len(stored) - 1, 100).round().astype(int)]
    some, others = reference(int8().content, stored), micro(int8().content, stored)
    difference = np.abs(some.astype(int) - others).max(axis=-1)
    same_class = int((some.argmax(axis=-1) == others.argmax(axis=-1)).sum())
    assert kit.agreement == golden_vectors.Agreement(
        100, int((difference == 0).sum()), same_class, int(difference.max())
    )
    assert kit.agreement.same_class == 100
    assert f"Of {kit.agreement.images} images" in (tmp_path / "README.md").read_text()


@needs_micro
def test_arena_has_a_margin(folder):
    found, _ = arena.measure(int8())
    record = json.loads((folder / "kit.json").read_text())
    assert record["arena"]["measured"] == {**dataclasses.asdict(found), "host_bits": 64}
    assert 1.25 * found.least <= record["arena"]["bytes"] < 1.25 * found.least + 1024
    settings = (folder / "model_settings.h").read_text()
    assert f"kArenaBytes = {record['arena']['bytes']};" in settings
    assert "64-bit host" in settings


def test_settings_are_those_of_the_file(folder):
    settings, spec = (folder / "model_settings.h").read_text(), int8().input
    found = dict(re.findall(r"(k\w+) = (-?[\d.e+-]+)f?;", settings))
    assert np.float32(found["kInputScale"]) == np.float32(spec.scale)
    assert np.float32(found["kOutputScale"]) == np.float32(int8().output.scale)
    assert int(found["kInputZeroPoint"]) == spec.zero_point
    assert int(found["kOutputZeroPoint"]) == int8().output.zero_point
    assert (int(found["kInputSize"]), int(found["kOutputSize"])) == (64, 10)
    assert "kInputShape[kInputRank] = {1, 8, 8, 1};" in settings
    assert int(found["kOperatorCount"]) == len(int8().operators)
    resolver = (folder / "resolver.h").read_text()
    assert re.findall(r"resolver\.(\w+)\(\)", resolver) == sorted(
        ["AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMaxPool2D", "AddReshape"]
    )


def test_kit_has_these_files_and_tells_of_them(folder):
    texts = text_of(folder)
    assert set(texts) == sources.names()
    assert {"model.h", "model.cc", "model_settings.h", "resolver.h", "golden.h", "example.cc", "README.md"} < set(texts)
    readme = texts["README.md"]
    assert all(f"`{name.split('/')[0]}{'/' if '/' in name else ''}`" in readme for name in set(texts) - {"README.md"})
    assert int8().sha256 in readme
    assert "10 of 10" in readme
    assert all(text.endswith("\n") and "{{" not in text and "{%" not in text for text in texts.values())


def test_same_input_same_bytes(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "tiny.tflite"
    path.write_bytes(int8().content)
    again = mcu_kit(path, images(), tmp_path / "kit").folder
    assert text_of(again) == text_of(folder)
    assert not [name for name, text in text_of(again).items() if str(tmp_path) in text or "elsewhere" in text]


def test_without_the_extra_the_kit_says_so(no_micro, tmp_path):
    kit = mcu_kit(int8(), images(), tmp_path)
    assert (kit.arena, kit.agreement) == (None, None)
    assert "tfharden[micro]" in kit.unmeasured
    assert kit.arena_bytes >= arena.estimate(int8())
    assert "NOT MEASURED" in (tmp_path / "model_settings.h").read_text()
    readme = (tmp_path / "README.md").read_text()
    assert "was not run on tflite-micro" in readme
    assert "Not measured" in readme
    inputs, outputs = vectors_in(tmp_path)
    np.testing.assert_array_equal(outputs, reference(int8().content, inputs))


@needs_micro
@pytest.mark.parametrize("name", ["conv_fc_mnist_srq_a8w8.tflite", "mlperf_tiny_resnet8_int8.tflite"])
def test_real_files(name, tmp_path):
    if not SHARED.is_dir():
        pytest.skip("the folder shared/models beside the repository is absent")
    file = read(SHARED / name)
    low, high = golden_vectors.input_range(file)
    noise = np.random.default_rng(0).uniform(low, high, (40, *file.input.shape[1:]))
    kit = mcu_kit(file, noise, tmp_path)
    assert kit.agreement.identical >= 30
    assert kit.agreement.same_class == 40
    text = (tmp_path / "golden.h").read_text()
    inputs = np.array(numbers(text, "kGoldenInputs"), np.int8).reshape(10, *file.input.shape[1:])
    outputs = np.array(numbers(text, "kGoldenOutputs"), np.int8).reshape(10, -1)
    np.testing.assert_array_equal(outputs, reference(file.content, inputs))
    np.testing.assert_array_equal(outputs, micro(file.content, inputs))


# Files that a kit isn't made of.


def two_inputs():
    inputs = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(layers.Add()(inputs))))


def renamed(**changes):
    return dataclasses.replace(int8(), **changes)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: converted(trained(), quantised=False), "computes in floats"),
        (lambda: converted(trained()), "dynamic range or hybrid"),
        (lambda: converted(trained(), digits().train[0], io=tf.float32), "mixes floats and integers"),
        (lambda: converted(trained(), digits().train[0], io=tf.int16, sixteen=True), "input and output are int16"),
        (lambda: converted(trained(), digits().train[0], batch=4), "made for 4 images at once"),
        (lambda: converted(two_inputs(), digits().train[0]), "2 inputs and 1 outputs"),
        (lambda: renamed(operators={"CONV_2D": 1, "TILE": 1, "GELU": 2}), "doesn't have the operators GELU, TILE"),
        (lambda: renamed(content=bytes(2**25 + 1)), "more than a microcontroller holds"),
        (lambda: renamed(input=dataclasses.replace(int8().input, scales=np.zeros(0))), "its input has no scale"),
        (lambda: parse(int8().content[:500], "cut.tflite"), "cut.tflite: "),
        (lambda: "absent.tflite", "can't read absent.tflite"),
    ],
    ids=[
        "float",
        "hybrid",
        "float ends",
        "int16",
        "batch",
        "inputs",
        "operators",
        "large",
        "scale",
        "cut",
        "absent",
    ],
)
def test_files_that_are_refused(make, told, tmp_path):
    with pytest.raises(InputError, match=re.escape(told)) as error:
        mcu_kit(make(), images(), tmp_path / "kit")
    assert one_line(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda: images()[:0], "empty"),
        (lambda: images()[:9], "9 different images are too few"),
        (lambda: np.repeat(images()[:3], 20, axis=0), "3 different images are too few"),
        (lambda: images()[:, :7], "(7, 8, 1)"),
        (lambda: 255 * images(), "give images in the units of the model"),
        (lambda: images() / 255, "give images in the units of the model"),
        (lambda: np.where(images() > 0.9, np.nan, images()), "NaN"),
    ],
    ids=["none", "few", "same", "shape", "255", "1/255", "nan"],
)
def test_images_that_are_refused(given, told, tmp_path):
    with pytest.raises(InputError, match=re.escape(told)) as error:
        mcu_kit(int8(), given(), tmp_path / "kit")
    assert one_line(error)
    assert "tiny.tflite" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_ten_images_are_enough(no_micro, tmp_path):
    mcu_kit(int8(), images(10), tmp_path)
    assert len(vectors_in(tmp_path)[0]) == 10


def answering(monkeypatch, change):
    """tflite-micro as it would be with other outputs."""

    def run(file, stored):
        outputs = reference(file.content, stored)
        change(outputs)
        return arena.MicroRun(outputs, arena.Arena(4000, 3000, 1000))

    monkeypatch.setattr(arena, "version", lambda: "other")
    monkeypatch.setattr(arena, "run", run)


def test_another_tflite_micro_with_other_classes_is_an_error(monkeypatch, tmp_path):
    def flip(outputs):
        outputs[:10] = -outputs[:10] - 1

    answering(monkeypatch, flip)
    with pytest.raises(ExportError, match="on 50 of 60 images only") as error:
        mcu_kit(int8(), images(), tmp_path / "kit")
    assert one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_golden_vectors_are_taken_where_both_agree(monkeypatch, tmp_path):
    def off(outputs, kept=12):
        outputs[: len(outputs) - kept, 0] ^= 1

    answering(monkeypatch, off)
    kit = mcu_kit(int8(), images(), tmp_path / "kit")
    assert kit.agreement == golden_vectors.Agreement(60, 12, kit.agreement.same_class, 1)
    spec = int8().input
    stored = np.clip(np.rint(images() / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
    agreed = {image.tobytes() for image in stored[-12:]}
    assert all(image.tobytes() in agreed for image in vectors_in(tmp_path / "kit")[0])
    answering(monkeypatch, lambda outputs: off(outputs, kept=9))
    with pytest.raises(InputError, match="of 60 there are 9: give more images") as error:
        mcu_kit(int8(), images(), tmp_path / "other")
    assert one_line(error)


# Names from strangers.


def test_names_end_no_comment(no_micro, tmp_path):
    evil = parse(int8().content, 'a*`</td>\\\n#error "x" é' + 200 * "x" + ".tflite")
    mcu_kit(evil, images(), tmp_path / "kit")
    for text in text_of(tmp_path / "kit").values():
        assert "#error" not in text
        assert "</td>" not in text
        assert text.isascii()
    record = json.loads((tmp_path / "kit" / "kit.json").read_text())
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", record["model"]["name"])
    assert record["model"]["sha256"] == hashlib.sha256(int8().content).hexdigest()


def test_public_name():
    assert th.export.mcu_kit is mcu_kit
