import subprocess
import sys

import numpy as np
import pytest

from tests._helpers.mcu_models import SHARED, converted, digits, int8, micro_interpreter, needs_micro, trained, zoo
from tfharden import models
from tfharden.errors import InputError
from tfharden.export.mcu import arena, measure
from tfharden.tflite import read


@pytest.mark.slow
@needs_micro
def test_arena_is_what_tflite_micro_accepts():
    found, reason = measure(int8())
    assert reason == ""
    assert found.head + found.tail <= found.least < found.head + found.tail + 512
    # The two activations of the convolution have to be there at the same time.
    assert found.head >= 8 * 8 * 8 + 6 * 6 * 8
    enough = micro_interpreter(int8().content, found.least)
    enough.set_input(np.zeros((1, 8, 8, 1), np.int8), 0)
    enough.invoke()
    for size in (found.least - 16, found.least // 2):
        with pytest.raises(RuntimeError, match="allocate"):
            micro_interpreter(int8().content, size)


@needs_micro
def test_outputs_are_those_of_the_bare_interpreter():
    stored = np.random.default_rng(0).integers(-128, 128, (7, 8, 8, 1)).astype(np.int8)
    bare = micro_interpreter(int8().content, 2**16)
    expected = []
    for image in stored:
        bare.set_input(image[np.newaxis], 0)
        bare.invoke()
        expected.append(bare.get_output(0)[0])
    np.testing.assert_array_equal(arena.run(int8(), stored).outputs, expected)


@needs_micro
@pytest.mark.parametrize("name", ["depthwise", "resnet"])
def test_estimate_is_enough_for_models_of_the_zoo(name):
    found, _ = measure(zoo(name))
    assert found.least <= arena.estimate(zoo(name)) < 10 * found.least


@needs_micro
def test_estimate_is_enough_for_real_files():
    if not SHARED.is_dir():
        pytest.skip("the folder shared/models beside the repository is absent")
    for path in (SHARED / "conv_fc_mnist_srq_a8w8.tflite", SHARED / "mlperf_tiny_resnet8_int8.tflite"):
        found, _ = measure(read(path))
        assert found.least <= arena.estimate(read(path))


@needs_micro
def test_what_tflite_micro_says_is_told_in_one_line():
    hybrid = converted(trained(), quantised=True)
    with pytest.raises(
        InputError, match=r"tiny\.tflite: tflite-micro can't run it: .*FLOAT32 with filter type: INT8"
    ) as error:
        measure(hybrid)
    assert "\n" not in str(error.value)


@needs_micro
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"crashed \(signal 11\)"),
        ("import sys; sys.exit('one\\ntwo \\x1b[31m')", r"two +\[31m"),
        ("import sys; sys.exit(3)", "status 3"),
        ("import time; time.sleep(60)", "not done after 1 s"),
    ],
)
def test_worker_that_ends_badly(monkeypatch, tmp_path, code, told):
    (tmp_path / "worker.py").write_text(code)
    monkeypatch.setattr(arena, "_WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(arena, "TIMEOUT_SECONDS", 1 if "sleep" in code else 60)
    with pytest.raises(InputError, match=told) as error:
        measure(int8())
    assert str(error.value).isprintable()


@needs_micro
def test_more_memory_than_any_device_has_is_refused(monkeypatch):
    monkeypatch.setattr(arena, "MAX_BYTES", 2**10)
    big = converted(models.build("cnn", (32, 32, 3), 10, width=8), np.random.default_rng(0).random((4, 32, 32, 3), "f"))
    with pytest.raises(InputError, match="can't run it"):
        measure(big)


def test_nothing_is_measured_without_the_extra(monkeypatch):
    monkeypatch.setattr(arena, "PACKAGE", "no_such_package")
    found, reason = measure(int8())
    assert found is None
    assert "pip install 'tfharden[micro]'" in reason
    with pytest.raises(InputError, match="isn't installed"):
        arena.run(int8(), digits().test[0][:1])


@pytest.mark.slow
def test_importing_loads_no_tflite_micro():
    code = "import sys, tfharden.export; sys.exit(any(name.startswith('tflite_micro') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
