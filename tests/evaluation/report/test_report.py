import base64
import copy
import csv
import io
import json

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from tests._helpers.pages import N, Page, panel, percent_cell, saved_page
from tfharden.errors import InputError
from tfharden.evaluation.report import cost_plots, plots
from tfharden.evaluation.report.display import for_display
from tfharden.evaluation.report.measures import COLUMNS, as_csv
from tfharden.evaluation.report.panels import Panel
from tfharden.evaluation.report.report import Report
from tfharden.evaluation.statistics import wilson


@pytest.mark.usefixtures("no_charts")
def test_json_holds_the_content_to_the_last_digit(content, tmp_path):
    content["models"][0]["clean_accuracy"] = np.float64(1 / 3)
    content["models"][0]["parameters"] = np.int64(160_010)
    Report(content).save(tmp_path / "new" / "folder")
    loaded = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert loaded["models"][0]["clean_accuracy"] == 1 / 3
    assert loaded["models"][0]["parameters"] == 160_010
    assert loaded == json.loads(json.dumps(content, default=int))


@pytest.mark.usefixtures("no_charts")
def test_csv_has_a_row_for_every_measure(content, tmp_path):
    Report(content).save(tmp_path)
    with open(tmp_path / "report.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames) == COLUMNS
    assert [(row["model"], row["kind"], row["attack"]) for row in rows] == [
        ("teacher.keras", "clean", ""),
        ("teacher.keras", "attack", "fgsm"),
        ("teacher.keras", "attack", "pgd"),
        ("teacher.keras", "worst_case", ""),
        ("student.tflite", "clean", ""),
        ("student.tflite", "attack", "pgd"),
        ("student.tflite", "attack", "square"),
        ("student.tflite", "worst_case", ""),
    ]
    assert [round(float(row["accuracy"]) * N) for row in rows] == [389, 331, 281, 279, 380, 293, 288, 283]
    assert {(row["norm"], row["epsilon"], row["seed"], row["num_examples"]) for row in rows} == {
        ("Linf", "0.15", "7", "400")
    }
    pgd = rows[2]
    assert (float(pgd["low"]), float(pgd["high"])) == wilson(281, N)
    assert (pgd["access"], pgd["queries_mean"], pgd["seconds"]) == ("white-box", "41.5", "1.25")
    assert rows[5]["seconds"] == ""


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_csv_names_are_no_formulas(content, name):
    content["models"][0]["name"] = name
    text = as_csv(for_display(Report(content).result))
    assert next(csv.DictReader(io.StringIO(text)))["model"] == f"'{name}".replace("\t", " ")


def test_terminal_table(content):
    content["models"][1]["checks"] = [
        {"name": "twin", "status": "warn", "detail": "1 LSB"},
        {"name": "masking", "status": "fail", "detail": "square wins"},
    ]
    lines = Report(content).table().splitlines()
    assert lines[0] == "Linf, epsilon 0.15, 400 images of digits"
    header, teacher, student = (line for line in lines if line.startswith(("model", "teacher", "student")))
    assert " ".join(header.split()) == "model KB parameters clean % fgsm % pgd % square % worst case %"
    assert " ".join(teacher.split()) == "teacher.keras 1,938.9 11,242 97.2 82.8 70.2 – 69.8 [65.1, 74.0]"
    assert " ".join(student.split()) == "student.tflite 48.8 11,242 95.0 – 73.2† 72.0 70.8 [66.1, 75.0]"
    assert len(header) == len(teacher) == len(student)
    assert lines[-2].startswith("† by transfer")
    assert lines[-1] == "checks: FAIL student.tflite: masking (square wins); WARN student.tflite: twin (1 LSB)"


def test_terminal_table_without_transfers_has_no_legend_for_them(content):
    del content["models"][1]
    assert "†" not in Report(content).table()


def test_terminal_table_says_when_all_checks_pass(content):
    assert Report(content).table().endswith("checks: all 2 pass")


@pytest.mark.usefixtures("no_charts")
def test_terminal_and_files_take_no_control_characters(content, tmp_path):
    content["models"][0]["path"] = "a\x1b[31m\u202eb\udcff.keras"
    report = Report(content)
    assert "a\ufffd[31m\ufffdb\ufffd.keras" in report.table()
    saved_page(report, tmp_path)
    for name in ("report.html", "report.csv"):
        assert "\x1b" not in (tmp_path / name).read_text(encoding="utf-8")


def test_equal_file_names_are_told_apart_by_their_paths(content):
    content["models"][0]["path"], content["models"][1]["path"] = "a/model.keras", "b/model.keras"
    table = Report(content).table()
    assert "a/model.keras" in table
    assert "b/model.keras" in table


@pytest.mark.usefixtures("no_charts")
def test_page_table_holds_the_numbers_of_the_content(content, tmp_path):
    page = saved_page(Report(content, [panel()]), tmp_path)
    header, *rows = ([" ".join(cell.split()) for cell in row] for row in page.tables[0])
    assert header[3:] == ["clean %", "worst case %", "fgsm %", "pgd %", "square %"]
    for row, entry in zip(rows, content["models"], strict=True):
        assert row[0].split()[0] == entry["path"].removeprefix("runs/")
        assert row[1:3] == [f"{entry['bytes'] / 1024:,.1f}", "11,242"]
        found = {f"{item['name']} %": item for item in entry["attacks"]}
        worst = entry["worst_case"]
        expected = [percent_cell(entry["clean_accuracy"], entry["clean_interval"])]
        expected.append(percent_cell(worst["robust_accuracy"], worst["interval"]))
        for name in header[5:]:
            item = found.get(name)
            cell = percent_cell(item["robust_accuracy"], item["interval"]) if item else "–"
            expected.append(cell.replace(" ", "† ", 1) if item and item["access"] == "transfer" else cell)
        assert row[3:] == expected


def test_page_loads_nothing_and_describes_its_pictures(content, tmp_path):
    page = saved_page(Report(content, [panel(), panel((32, 32, 3))]), tmp_path)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "iframe", "object", "embed", "link", "base"} & set(names)
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    text = (tmp_path / "report.html").read_text(encoding="utf-8").replace("url(#", "")
    assert "url(" not in text
    assert "@import" not in text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * 3 * 3
    assert all(attributes["alt"] for attributes in images)
    assert names.count("svg") == 2
    assert sum(attributes.get("role") == "img" and "aria-label" in attributes for _, attributes in page.tags) == 2
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("no_charts")
def test_wrong_and_right_differ_in_more_than_colour(content, tmp_path):
    page = saved_page(Report(content, [panel()]), tmp_path)
    marks = [text.strip() for text in page.text if text.strip()[:1].isdigit() and text.strip()[-1] in "✓✗"]
    assert marks == ["0 ✓", "2 ✗", "1 ✓", "1 ✓", "2 ✓", "0 ✗"]


@pytest.mark.usefixtures("no_charts")
def test_concerns_lead_the_page(content, tmp_path):
    assert "rely on" not in " ".join(saved_page(Report(content), tmp_path).text)
    content["models"][0]["checks"][0]["status"] = "fail"
    text = " ".join(" ".join(saved_page(Report(content), tmp_path).text).split())
    assert "✗ 1 check failed." in text
    assert text.index("rely on these numbers") < text.index("Accuracy")


@pytest.mark.usefixtures("no_charts")
def test_page_shortens_the_numbers_in_lists_of_settings(content, tmp_path):
    bounds = {"bounds": [0.0, 1.0000000591389835], "attack": {"name": "pgd", "sizes": [[1, 0.1 + 0.2], None]}}
    content["models"][0]["attacks"][1]["parameters"] = bounds
    text = " ".join(" ".join(saved_page(Report(content), tmp_path).text).split())
    assert "bounds [0, 1], attack (name pgd, sizes [[1, 0.3], –])" in text


def test_nan_is_not_written(content, tmp_path):
    content["models"][0]["attacks"][0]["queries_mean"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        Report(content).save(tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_file_in_place_of_the_folder(content, tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(InputError, match="report"):
        Report(content).save(tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (tmp_path / "report").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_one_file_that_cannot_be_written_leaves_none(content, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tfharden.evaluation.report.page.as_page", lambda *arguments, **options: "")
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        Report(content).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_saving_leaves_the_content_alone(content, tmp_path):
    before = copy.deepcopy(content)
    report = Report(content, [panel()])
    report.table()
    report.save(tmp_path)
    assert content == before


@pytest.mark.parametrize("count", [0, 1, 9])
def test_any_number_of_models(content, count, tmp_path):
    entry = content["models"][0]
    content["models"] = [entry | {"path": f"{index}.keras", "attacks": entry["attacks"][:1]} for index in range(count)]
    page = saved_page(Report(content), tmp_path)
    assert [tag for tag, _ in page.tags].count("svg") == (2 if count else 0)
    for index in range(count):
        assert page.text.count(f"{index}.keras") >= 2  # in both charts


def test_a_model_that_is_no_file(content, tmp_path):
    content["models"][0] |= {"name": "teacher", "path": None, "bytes": None, "sha256": None}
    report = Report(content)
    assert report.table().splitlines()[3].split()[:2] == ["teacher", "–"]
    page = saved_page(report, tmp_path)
    assert [tag for tag, _ in page.tags].count("svg") == 2


def shown(content):
    """The models as charts have them."""
    return for_display(Report(content).result).models


def marks_in(svg):
    """How many marks a chart has: matplotlib draws each as a reference to its marker."""
    return sum(tag == "use" for tag, _ in Page(svg).tags)


def test_attack_chart_marks_what_was_measured_and_nothing_else(content):
    both = plots.accuracy_by_attack(shown(content))
    del content["models"][1]["attacks"][1]
    chart = plots.accuracy_by_attack(shown(content))
    assert marks_in(both) - marks_in(chart) == 1
    texts = Page(chart).text
    assert [text for text in texts if text in ("97.2", "82.8", "70.2", "69.8")] == ["97.2", "82.8", "70.2", "69.8"]
    assert "pgd†" in texts
    assert "square" not in texts


def test_charts_ignore_a_users_style_and_leave_it_alone(content):
    for number, entry in enumerate(content["models"]):
        entry["name"] = f"模型 $x_{number}$"
    models = shown(content)
    plain = cost_plots.accuracy_against(cost_plots.SIZE, models)
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "figure.dpi": 33}):
        assert cost_plots.accuracy_against(cost_plots.SIZE, models) == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert "模型 $x_0$" in Page(plain).text


def pixels(uri):
    return imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))[..., :3]


def test_tiles_show_the_values():
    grey = np.array([[0, 64], [128, 255]], np.uint8)[..., None]
    tile = pixels(plots.image_tile(grey, (0, 255)))
    assert tile.shape == (144, 144, 3)
    np.testing.assert_allclose(tile[[0, 0, 143, 143], [0, 143, 0, 143], 0], [0, 64 / 255, 128 / 255, 1], atol=0.005)
    assert len(np.unique(tile)) == 4  # enlarged without smoothing
    colour = np.array([[[-1.0, 0.0, 1.0]]])
    np.testing.assert_allclose(pixels(plots.image_tile(colour, (-1, 1)))[5, 5], [0, 0.5, 1], atol=0.005)
    assert pixels(plots.image_tile(np.zeros((200, 160, 3)), (0, 1))).shape == (200, 160, 3)


def test_change_tile_is_symmetric_around_white():
    change = np.array([[[0.1, -0.2], [0.0, 0.0], [0.1, 0.2]]])
    down, none, up = pixels(plots.change_tile(change, 0.2))[0, [0, 72, 143]]
    np.testing.assert_allclose(none, 1, atol=0.01)
    assert down[2] > down[0] + 0.4  # blue
    assert up[0] > up[2] + 0.4  # red


@pytest.mark.usefixtures("no_charts")
def test_integer_images_do_not_wrap_around(content, tmp_path):
    content["threat"]["bounds"] = [0, 255]
    some = panel()
    clean, adversarial = np.full((1, 8, 8, 1), 10, np.uint8), np.full((1, 8, 8, 1), 2, np.uint8)
    one = Panel("m", "a", clean, adversarial, some.labels[:1], some.labels[:1], some.labels[:1])
    page = saved_page(Report(content, [one]), tmp_path)
    assert " under a; full colour is a change of 8" in page.text


def test_models_of_equal_size_stand_apart_and_others_stay():
    spread = plots.spread([50, 300, 50, 52, 399], gap=10, low=0, high=400)
    np.testing.assert_allclose(spread, [40 + 2 / 3, 300, 50 + 2 / 3, 60 + 2 / 3, 399])
    crowded = plots.spread([395] * 4, gap=10, low=0, high=400)
    np.testing.assert_allclose(crowded, [370, 380, 390, 400])
