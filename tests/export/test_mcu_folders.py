import errno
import pathlib

import pytest

from tests._helpers.exporting import one_line
from tests._helpers.mcu_models import (
    images,
    int8,
    text_of,
)
from tfharden.errors import InputError
from tfharden.export import mcu_kit
from tfharden.export.mcu import arena, sources


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch):
    """tflite-micro runs in a process of its own, which has nothing to do with folders."""
    monkeypatch.setattr(arena, "PACKAGE", "no_such_package")


def test_kit_takes_an_empty_folder_and_replaces_itself(tmp_path):
    (tmp_path / "kit").mkdir()
    mcu_kit(int8(), images(), tmp_path / "kit")
    before = text_of(tmp_path / "kit")
    with pytest.raises(InputError, match="holds a kit already") as error:
        mcu_kit(int8(), images(), tmp_path / "kit")
    assert one_line(error)
    mcu_kit(int8(), images()[::-1], tmp_path / "kit", overwrite=True)
    after = text_of(tmp_path / "kit")
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]
    assert {name for name in after if after[name] != before[name]} == {"golden.h"}


def add_note(folder):
    (folder / "note.txt").write_text("mine")


def add_link(folder):
    (folder / "stubs" / "link").symlink_to(folder.parent)


def lose_record(folder):
    (folder / "kit.json").unlink()


def other_record(folder):
    (folder / "kit.json").write_text("[1]")


@pytest.mark.parametrize("change", [add_note, add_link, lose_record, other_record])
def test_folder_with_other_things_is_left_alone(change, tmp_path):
    kit = mcu_kit(int8(), images(), tmp_path / "kit").folder
    change(kit)
    before = text_of(kit)
    with pytest.raises(InputError, match="holds other things") as error:
        mcu_kit(int8(), images(), kit, overwrite=True)
    assert one_line(error)
    assert text_of(kit) == before


def test_file_in_the_way(tmp_path):
    (tmp_path / "kit").write_text("mine")
    for path in (tmp_path / "kit", tmp_path / "kit" / "inside"):
        with pytest.raises(InputError, match="can't write") as error:
            mcu_kit(int8(), images(), path, overwrite=True)
        assert one_line(error)
    assert (tmp_path / "kit").read_text() == "mine"


@pytest.mark.parametrize("failing", ["write_bytes", "rename"])
def test_full_disk_leaves_what_was_there(failing, tmp_path, monkeypatch):
    kit = mcu_kit(int8(), images(), tmp_path / "kit").folder
    before, whole = text_of(kit), getattr(pathlib.Path, failing)

    def fail(path, *given):
        # Of the renames, the one that puts the new folder in its place.
        if path.name in ("golden.h", "new"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, *given)

    monkeypatch.setattr(pathlib.Path, failing, fail)
    with pytest.raises(InputError, match="No space left") as error:
        mcu_kit(int8(), images()[::-1], kit, overwrite=True)
    assert one_line(error)
    assert text_of(kit) == before
    with pytest.raises(InputError, match="No space left"):
        mcu_kit(int8(), images(), tmp_path / "new kit")
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    mcu_kit(int8(), images(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert set(text_of(tmp_path / "real")) == sources.names()
