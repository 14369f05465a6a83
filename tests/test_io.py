import hashlib
import os
import pathlib

import pytest

from tfharden import _io
from tfharden.errors import InputError


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "new" / "folders" / "model.v1.tflite"
    with _io.replacing(path) as beside:
        assert beside.parent == path.parent
        assert beside.suffix == ".tflite"
        beside.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert _names(path.parent) == ["model.v1.tflite"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with open(path) as reader, _io.replacing(path) as beside:
        beside.write_text("ne")
        assert path.read_text() == "old"
        beside.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, InputError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(error), _io.replacing(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["file.json"]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"can't write .*file: No space left"), _io.replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert _names(tmp_path) == []


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "taken").write_text("mine")
    for write in (lambda path: _io.write_text(path, "x"), _io.check_writable):
        with pytest.raises(InputError, match=r"can't write .*taken/report.json: [^\n]+$"):
            write(tmp_path / "taken" / "report.json")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "target").mkdir()
    for write in (lambda path: _io.write_text(path, "x"), _io.check_writable):
        with pytest.raises(InputError, match="is a folder"):
            write(tmp_path / "target")
    assert _names(tmp_path) == ["target"]


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"can't write"):
        _io.write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()
    assert _names(tmp_path) == ["pipe"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        _io.write_text(tmp_path / "file", "x")
        assert os.umask(umask) == umask  # and the process keeps its own
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_checking_changes_nothing(tmp_path):
    _io.check_writable(tmp_path / "absent")
    assert _names(tmp_path) == []
    (tmp_path / "there").write_text("old")
    _io.check_writable(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "old"


def test_bytes_text_and_hash(tmp_path):
    _io.write_text(tmp_path / "text", "Zürich\n")
    assert (tmp_path / "text").read_bytes() == b"Z\xc3\xbcrich\n"
    _io.write_bytes(str(tmp_path / "bytes"), b"\0\r\n")
    assert pathlib.Path(tmp_path / "bytes").read_bytes() == b"\0\r\n"
    assert _io.sha256(tmp_path / "bytes") == hashlib.sha256(b"\0\r\n").hexdigest()
