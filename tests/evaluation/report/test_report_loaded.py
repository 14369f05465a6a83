"""Reports that are loaded, saved again, merged and compared."""

import json

import pytest

import tfharden as th
from tests._helpers.pages import N, Page, panel
from tfharden.errors import InputError
from tfharden.evaluation import Report
from tfharden.evaluation.report import report as module

FILES = "report.json", "report.csv", "report.html"


def of_model(content, index, **changes):
    """The report of one of the models."""
    return Report(content | {"models": [content["models"][index]]} | changes)


@pytest.mark.slow
def test_a_report_with_every_part_is_saved_again_as_it_was(full, tmp_path):
    for path in (full.folder, full.folder / "report.json", str(full.folder)):
        loaded = Report.load(path)
        assert loaded.content == full.content == full.report.content
    loaded.save(tmp_path)
    for name in FILES[:2]:
        assert (tmp_path / name).read_bytes() == (full.folder / name).read_bytes()
    assert loaded.table() == full.report.table()
    # The page lacks the images alone, and says so.
    first, again = ((folder / FILES[2]).read_text(encoding="utf-8") for folder in (full.folder, tmp_path))
    note = "This page was made from report.json, which holds no images."
    assert (note in first, note in again) == (False, True)
    assert ("<img" in first, "<img" in again) == (True, False)
    missing = set(first.splitlines()) - set(again.splitlines())
    assert {line for line in missing if line.startswith("<h2")} == {
        '<h2 id="examples">Examples</h2>',
        '<h2 id="fooling">Fooling images</h2>',
    }
    assert Page(first).tables == Page(again).tables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not usable JSON"),
        ("[]", "an object is expected"),
        ('{"schema": "tfharden.report/1", "seed": NaN}', "NaN is no number"),
        ('{"schema": "something else"}', "schema: one of tfharden.report/1"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_report(text, message, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=f"report.json: .*{message}") as error:
        Report.load(tmp_path)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"can't read .*report.json: No such file"):
        Report.load(tmp_path)
    (tmp_path / "report.json").write_text('{"schema": "tfharden.report/1"}')
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="11 bytes of JSON are more than the 10"):
        Report.load(tmp_path)


def test_reports_of_two_models_are_merged(content, tmp_path):
    one, other = of_model(content, 0), of_model(content, 1)
    one.gallery = (panel(),)
    merged = Report.merge(one, other)
    assert merged.content == Report(content).content
    assert merged.gallery == one.gallery
    merged.save(tmp_path)
    assert Report.load(tmp_path).content == merged.content
    assert one.merge(Report(other.result, has_images=False)).has_images is False


MATRIX = {"attack": "pgd", "parameters": {}, "sources": ["a"], "targets": ["a"], "robust_accuracy": [[0.5]],
          "clean_accuracy": [1], "noise_accuracy": [1]}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "reports of different seed can't be merged: 7 and 8"),
        ({"data": {"name": "digits", "num_examples": N, "sha256": "0"}}, "of different data"),
        ({"threat": {"norm": "L2", "epsilon": 0.15, "bounds": [0, 1], "lattice": None}}, "of different threat"),
        ({"versions": {"tfharden": "0.2.0"}}, "of different versions"),
        ({"transfer": MATRIX}, "both reports have a transfer matrix"),
        ({"differential": {"source": "another", "models": []}}, "different sources can't be merged: one and another"),
    ],
)
def test_reports_that_do_not_fit(content, changes, message):
    parts = {"transfer": MATRIX, "differential": {"source": "one", "models": []}}
    one = of_model(content, 0, **{name: part for name, part in parts.items() if name in changes})
    with pytest.raises(InputError, match=message) as error:
        one.merge(of_model(content, 1, **changes))
    assert "\n" not in str(error.value)


def test_a_model_twice_is_refused_and_parts_of_one_report_are_kept(content):
    one, other = of_model(content, 0, transfer=MATRIX), of_model(content, 1)
    with pytest.raises(InputError, match=r"runs/teacher.keras.* is in both reports"):
        one.merge(of_model(content, 0))
    assert one.merge(other).result.transfer is one.result.transfer is other.merge(one).result.transfer
    beside = {"source": "one", "models": []}
    both = of_model(content, 0, differential=beside).merge(of_model(content, 1, differential=beside))
    assert both.content["differential"] == beside


def test_two_reports_are_compared_by_model_and_attack(content):
    old = Report(content)
    changed = json.loads(json.dumps(old.content))
    changed["models"][0]["attacks"][1] |= {"robust_accuracy": 0.75, "interval": [0.7, 0.8]}
    changed["models"][1]["attacks"].pop()
    changed["seed"] = 8
    lines = old.compare(Report(changed)).splitlines()
    assert lines[0] == "Linf, epsilon 0.15, 400 images of digits"
    rows = [line.split() for line in lines[2:]]
    assert rows[0] == ["model", "accuracy", "old", "%", "new", "%", "change"]
    assert ["teacher.keras", "pgd", "70.2", "[65.6,", "74.5]", "75.0", "[70.0,", "80.0]", "+4.7"] in rows
    assert rows[1][-1] == "+0.0"
    assert [row[-2:] for row in rows if row[:2] == ["student.tflite", "square"]] == [["–", "–"]]
    assert len(rows) == 1 + 2 * 4
    changed["threat"]["epsilon"] = 0.2
    with pytest.raises(InputError, match="of different threat can't be compared"):
        old.compare(Report(changed))


def test_short_forms(content):
    content["models"][0]["name"] = "<b>&\x1b"
    report = Report(content)
    assert repr(report) == (
        "<Report: Linf, epsilon 0.15, 400 images of digits; worst case <b>&\ufffd 69.8%, student.tflite 70.8%>"
    )
    page = Page(report._repr_html_())
    assert page.open == []
    assert [row[0] for row in page.tables[0]] == ["model", "<b>&\ufffd", "student.tflite"]
    assert "of no model" in repr(Report(content | {"models": []}))


def test_the_former_keyword_warns(content):
    with pytest.warns(FutureWarning, match="result="):
        assert th.Report(content=content).content == Report(content).content
