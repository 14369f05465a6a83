import numpy as np
import pytest


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
