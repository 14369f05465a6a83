import collections
import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfharden.errors import InputError
from tfharden.tflite import read

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_facts_of_an_int8_file(tflite_folder):
    path = tflite_folder / "int8.tflite"
    file = read(path)
    assert file.name == "int8.tflite"
    assert file.path == path
    assert file.content == path.read_bytes()
    assert file.sha256 == hashlib.sha256(file.content).hexdigest()
    assert file.input.shape == (1, 8, 8, 1)
    assert file.input.dtype == np.int8
    assert file.input.scale == pytest.approx(1 / 255, rel=1e-2)
    assert file.input.zero_point == -128
    assert file.output.shape == (1, 10)
    assert file.operators["CONV_2D"] == file.operators["DEPTHWISE_CONV_2D"] == file.operators["FULLY_CONNECTED"] == 1
    assert file.dtypes["INT8"] > 3


def test_facts_agree_with_the_interpreter(tflite_folder):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    for path in sorted(tflite_folder.glob("[fimu]*.tflite")):
        file = read(path)
        litert = interpreter.Interpreter(str(path))
        ends = (file.input, litert.get_input_details()[0]), (file.output, litert.get_output_details()[0])
        for spec, details in ends:
            assert spec.name == details["name"]
            assert spec.shape == tuple(details["shape"])
            assert spec.dtype == details["dtype"]
            assert (np.float32(spec.scale), spec.zero_point) == details["quantization"]
        names = collections.Counter(operator["op_name"] for operator in litert._get_ops_details())
        assert file.operators == names


def test_parameters_are_weights_and_biases(tflite_folder):
    convolution, depthwise, dense = 4 * 9 + 4, 4 * 9 + 4, 36 * 10 + 10
    for name in ("int8.tflite", "uint8.tflite", "float.tflite"):
        assert read(tflite_folder / name).parameters == convolution + depthwise + dense


def test_files_that_are_no_classifiers(tflite_folder, tmp_path):
    (tmp_path / "empty.tflite").write_bytes(b"")
    (tmp_path / "text.tflite").write_text("hello, this is not a model")
    for path, message in (
        (tmp_path / "absent.tflite", "No such file"),
        (tmp_path, "not a file"),
        (tmp_path / "empty.tflite", "empty"),
        (tmp_path / "text.tflite", r"not a TFLite file \(no TFL3 identifier\)"),
        (tflite_folder / "scalar.tflite", r"output has shape \(1,\), expected \[batch, classes\]"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert path.name in str(caught.value)


@pytest.mark.slow
def test_reading_loads_no_native_code():
    code = "import sys, tfharden.tflite; sys.exit('ai_edge_litert.interpreter' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
