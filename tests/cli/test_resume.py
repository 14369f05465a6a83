"""Stages of work that survive a kill."""

import pytest

from tfharden.cli.resume import MARKER, Stages


class Killed(Exception):
    pass


def test_a_stage_is_done_again_when_what_it_rests_on_changes(tmp_path):
    made = []

    def run(settings, *, kill=False):
        def make():
            made.append(settings)
            (tmp_path / "run" / "out").write_text(str(settings))
            if kill:
                raise Killed

        stages = Stages(tmp_path / "run")
        stages.run("stage", settings, ["out"], make)

    with pytest.raises(Killed):
        run({"epochs": 1}, kill=True)
    run({"epochs": 1})
    run({"epochs": 1})
    assert made == [{"epochs": 1}] * 2
    run({"epochs": 2})
    (tmp_path / "run" / "out").write_text("tampered")
    run({"epochs": 2})
    (tmp_path / "run" / MARKER).write_text("no record")
    run({"epochs": 2})
    assert made[2:] == [{"epochs": 2}] * 3
