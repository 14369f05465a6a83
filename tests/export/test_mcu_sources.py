"""The kit's C++, compiled."""

import subprocess

import numpy as np
import pytest

from tests._helpers.mcu_models import digits, int8, needs_compiler, zoo
from tfharden.export.mcu import arena, mcu_kit, operators
from tfharden.tflite import Runtime, parse

pytestmark = needs_compiler

SUPPORTED_METHODS = operators.methods(operators.SUPPORTED)
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]

# Prints what the kit's arrays and functions hold, for the test to compare.
DUMP = """
#include <cstdio>
#include <cstring>
#include "golden.h"
#include "model.h"
int main() {
  std::fwrite(g_model, 1, g_model_len, stdout);
  std::fwrite(mcu_kit::kGoldenInputs, 1, sizeof(mcu_kit::kGoldenInputs), stdout);
  std::fwrite(mcu_kit::kGoldenOutputs, 1, sizeof(mcu_kit::kGoldenOutputs), stdout);
  float real;
  while (std::fread(&real, sizeof(real), 1, stdin) == 1) {
    const mcu_kit::Value stored = mcu_kit::QuantizeInput(real);
    std::fwrite(&stored, sizeof(stored), 1, stdout);
  }
  for (int stored = mcu_kit::kLeastValue; stored <= mcu_kit::kMostValue; ++stored) {
    real = mcu_kit::DequantizeOutput(static_cast<mcu_kit::Value>(stored));
    std::fwrite(&real, sizeof(real), 1, stdout);
  }
  return reinterpret_cast<std::uintptr_t>(g_model) % 16 == 0 ? 0 : 1;
}
"""

# In the place of tflite-micro: looks answers up among the golden vectors, and spoils as many as OFF says.
FAKE = """
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include "golden.h"
#include "model.h"
#include "resolver.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
namespace {
mcu_kit::Value in[mcu_kit::kInputSize], out[mcu_kit::kOutputSize];
TfLiteTensor input, output;
size_t arena_bytes;
unsigned int runs, added;
}
namespace tflite {
#define METHOD(name) \\
  template <unsigned int n> TfLiteStatus MicroMutableOpResolver<n>::name() { return ++added, kTfLiteOk; }
METHODS
template class MicroMutableOpResolver<mcu_kit::kOperatorCount>;
struct Model {} model;
void InitializeTarget() { runs = added = 0; }
const Model* GetModel(const void* content) { return content == g_model ? &model : nullptr; }
MicroInterpreter::MicroInterpreter(const Model* given, const MicroOpResolver&, uint8_t*, size_t size) {
  arena_bytes = given == &model ? size : 0;
  ::input.data.data = in; ::input.bytes = sizeof(in);
  ::output.data.data = out; ::output.bytes = sizeof(out);
}
TfLiteStatus MicroInterpreter::AllocateTensors() {
  return arena_bytes >= NEEDED && added == mcu_kit::kOperatorCount ? kTfLiteOk : kTfLiteError;
}
TfLiteTensor* MicroInterpreter::input(size_t) { return &::input; }
TfLiteTensor* MicroInterpreter::output(size_t) { return &::output; }
size_t MicroInterpreter::arena_used_bytes() const { return 1234; }
TfLiteStatus MicroInterpreter::Invoke() {
  for (int i = 0; i < mcu_kit::kGoldenCount; ++i) {
    if (std::memcmp(in, mcu_kit::kGoldenInputs[i], sizeof(in)) == 0) {
      std::memcpy(out, mcu_kit::kGoldenOutputs[i], sizeof(out));
      if (runs++ < OFF) out[3] = static_cast<mcu_kit::Value>(out[3] ^ 2);
      std::memset(in, 0, sizeof(in));  // as tflite-micro may
      return kTfLiteOk;
    }
  }
  return kTfLiteError;
}
}
void MicroPrintf(const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::vprintf(format, values);
  std::puts("");
  va_end(values);
}
"""


FAKE = FAKE.replace("METHODS", "\n".join(f"METHOD({method})" for method in SUPPORTED_METHODS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mcu_kit(int8(), digits().test[0], tmp_path_factory.mktemp("kit")).folder


def compiled(folder, *arguments):
    return subprocess.run(["g++", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def checked(folder):
    done = compiled(folder, *STRICT, "-fsyntax-only", "-I", "stubs", "example.cc", "model.cc")
    assert done.returncode == 0, done.stderr


def built(folder, tmp_path, code, *files, defined=()):
    (tmp_path / "extra.cc").write_text(code)
    program = tmp_path / "program"
    flags = ["-std=c++17", "-w", "-I", ".", "-I", "stubs", *(f"-D{one}" for one in defined), "-o", str(program)]
    done = compiled(folder, *flags, str(tmp_path / "extra.cc"), *files)
    assert done.returncode == 0, done.stderr
    return program


def test_syntax_against_the_kit_alone(folder):
    checked(folder)


def test_syntax_as_the_readme_says(folder):
    (command,) = [line.split() for line in (folder / "README.md").read_text().splitlines() if "g++" in line]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_stubs_are_no_library(folder, tmp_path):
    done = compiled(folder, "-std=c++17", "-I", "stubs", "-o", str(tmp_path / "x"), "example.cc", "model.cc")
    assert "undefined reference" in done.stderr


@pytest.mark.parametrize("name", ["depthwise", "resnet"])
def test_syntax_of_kits_of_the_zoo(name, tmp_path, monkeypatch):
    monkeypatch.setattr(arena, "PACKAGE", "no_such_package")
    checked(mcu_kit(zoo(name), digits().test[0], tmp_path / "kit").folder)


def test_syntax_with_an_evil_name(tmp_path, monkeypatch):
    monkeypatch.setattr(arena, "PACKAGE", "no_such_package")
    evil = parse(int8().content, "a*??/\\\n#error x\\")
    checked(mcu_kit(evil, digits().test[0], tmp_path / "kit").folder)


def test_arrays_and_functions_hold_what_they_should(folder, tmp_path):
    runtime = Runtime(int8(), kernels="reference")
    scale = np.float32(int8().input.scale)
    halves = (np.arange(-140, 140) + np.float32(0.5)) * scale
    reals = np.concatenate(
        [halves, np.random.default_rng(0).uniform(-1, 2, 5000), [0, -0.0, 1, 1e-40, 1e30, -1e30]]
    ).astype(np.float32)
    program = built(folder, tmp_path, DUMP, "model.cc")
    infinite = np.array([np.inf, -np.inf, np.nan], np.float32)
    done = subprocess.run([program], input=np.append(reals, infinite).tobytes(), capture_output=True, check=True)
    length = len(int8().content)
    assert done.stdout[:length] == int8().content
    rest = np.frombuffer(done.stdout[length : -4 * 256], np.int8)
    inputs, outputs, stored = np.split(rest, [640, 740])
    np.testing.assert_array_equal(outputs.reshape(10, 10), runtime.predict_raw(inputs.reshape(10, 8, 8, 1)))
    np.testing.assert_array_equal(stored[:-3], runtime.quantize(reals))
    assert stored[-3:].tolist() == [127, -128, -128]
    back = np.frombuffer(done.stdout[-4 * 256 :], np.float32)
    np.testing.assert_array_equal(back, runtime.dequantize(np.arange(-128, 128).astype(np.int8)))


@pytest.mark.parametrize(
    ("off", "status", "told"),
    [
        (0, 0, ["PASS: 10 of 10 golden vectors"]),
        (1, 1, ["golden vector 0: class", "outputs differ by up to 2 steps", "FAIL: 9 of 10"]),
        (10, 1, ["golden vector 9: class", "FAIL: 0 of 10"]),
    ],
)
def test_example_tells_right_from_wrong(folder, tmp_path, off, status, told):
    program = built(folder, tmp_path, FAKE, "example.cc", "model.cc", defined=[f"OFF={off}", "NEEDED=1"])
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "arena: 1234 of" in done.stdout
    assert all(line in done.stdout for line in told)


def test_example_tells_that_the_arena_is_too_small(folder, tmp_path):
    program = built(folder, tmp_path, FAKE, "example.cc", "model.cc", defined=["OFF=0", "NEEDED=1000000000"])
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "FAIL: the model does not run\n")
