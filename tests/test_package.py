"""The package as it is imported and installed."""

import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys

import pytest

import tfharden as th

ROOT = pathlib.Path(__file__).parents[1]


def test_public_names_and_nothing_else():
    names = dir(th)
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("_")]
    assert {"Linf", "RobustModel", "attacks", "data", "evaluate"} <= {*names}
    assert not {"lazy", "Any", "warn_renamed"} & {*names}
    assert all(getattr(th, name) is not None for name in names)


def test_version():
    assert th.__version__ == importlib.metadata.version("tfharden")


def test_former_names_warn():
    with pytest.warns(FutureWarning, match=r"tfharden\.Taught is now called tfharden\.CachedTeacher"):
        assert th.Taught is th.CachedTeacher
    with pytest.raises(AttributeError):
        _ = th.Linff


def test_types_are_packaged():
    package = pathlib.Path(th.__file__).parent
    assert all((package / name).is_file() for name in ("py.typed", "__init__.pyi"))
    code = "import setuptools; setuptools.setup = lambda **given: print(given['package_data'], given['package_dir'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport runpy; runpy.run_path('setup.py')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'*': ['*.pyi']" in done.stdout
    assert "'tfharden': ['py.typed']" in done.stdout
    # So that an editable install is a path, which comes before a folder.
    assert done.stdout.strip().endswith("{'': '.'}")


@pytest.mark.slow
def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path):
    """As beside a clone that is called tfharden."""
    (tmp_path / "tfharden" / "docs").mkdir(parents=True)
    code = "import tfharden as th; print(th.Linf.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Linf\n"), done.stderr
