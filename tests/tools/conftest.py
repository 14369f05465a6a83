import numpy as np
import pytest
from processes import fast, run_tool


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
