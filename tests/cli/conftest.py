import keras
import numpy as np
import pytest
from absl import flags

from tests._helpers.processes import fast, run_tool


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A finished run of the pipeline: its folder and the process."""
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, run_tool("pipeline", *fast(folder))


@pytest.fixture
def npz(tmp_path):
    """Writes a dataset file and returns its --dataset flag."""

    def write(**replaced):
        rng = np.random.default_rng(0)
        arrays = {"x_train": rng.random((40, 8, 8, 1)), "y_train": np.arange(40) % 10}
        arrays |= {"x_test": rng.random((20, 8, 8, 1)), "y_test": np.arange(20) % 10}
        path = tmp_path / "data.npz"
        np.savez(path, **arrays | replaced)
        return f"--dataset=npz:{path}"

    return write


@pytest.fixture
def run_here():
    """Runs a tool in this process, where its work can be watched, and leaves no flags behind."""
    before = set(flags.FLAGS)

    def prepare(tool):
        tool.define_flags()

        def main(*arguments):
            for name in set(flags.FLAGS) - before:
                flags.FLAGS[name].unparse()
            flags.FLAGS(["tool", *arguments], known_only=True)
            keras.utils.set_random_seed(flags.FLAGS.seed)
            tool.main()

        return main

    yield prepare
    flags.FLAGS.unparse_flags()
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
