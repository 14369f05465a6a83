import csv

import numpy as np
import pytest

from tests._helpers.pages import Page, panel, saved_page
from tfharden.evaluation.probes.fooling import FoolingImages
from tfharden.evaluation.report import probe_plots
from tfharden.evaluation.report.panels import Fooling
from tfharden.evaluation.report.report import Report
from tfharden.evaluation.results import LinearityResult

MATRIX = {
    "attack": "pgd",
    "parameters": {"steps": 40},
    "sources": ["teacher.keras"],
    "targets": ["teacher.keras", "student.tflite"],
    "robust_accuracy": [[0.25, 0.625]],
    "clean_accuracy": [0.975, 0.95],
    "noise_accuracy": [0.9625, 0.9375],
}


@pytest.mark.usefixtures("no_charts")
def test_transfer_is_a_table_of_heats(content, tmp_path):
    content["transfer"] = MATRIX
    report = Report(content)
    page = saved_page(report, tmp_path)
    (table,) = [table for table in page.tables if table[0][0] == "made on"]
    assert [[cell.strip() for cell in row] for row in table] == [
        ["made on", "teacher.keras", "student.tflite"],
        ["no change", "97.5", "95.0"],
        ["random noise", "96.2", "93.8"],
        ["teacher.keras", "25.0", "62.5"],
    ]
    cells = [attributes for tag, attributes in page.tags if tag == "td" and "--left" in attributes.get("style", "")]
    assert [cell["style"] for cell in cells[-2:]] == ["--left: 0.250", "--left: 0.625"]
    assert [cell.get("class") for cell in cells] == [None] * 4 + ["own", None]
    lines = report.table().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("pgd on"))
    assert lines[start + 3].split() == ["teacher.keras", "25.0", "62.5"]


def line(label=1):
    offsets = np.linspace(-0.3, 0.3, 41)
    return {
        "reach": 2.0,
        "offsets": offsets.tolist(),
        "margin_mean": (1 - 10 * offsets).tolist(),
        "example": {"label": label, "logits": np.stack([0 * offsets, 2 - 10 * offsets, offsets], axis=1).tolist()},
        "straightness": 0.9871,
        "rise_mean": 2.5,
        "gamma_mean": 1.25,
        "deviation": 0.5,
        "num_examples": 123,
        "loss": "cross_entropy",
        "seconds": 1.0,
    }


def test_linearity_is_a_chart_with_its_numbers(content, tmp_path):
    content["models"][0]["probes"] = {"linearity": line()}
    content["models"][1]["probes"] = {}
    page = saved_page(Report(content), tmp_path)
    assert [tag for tag, _ in page.tags].count("svg") == 3
    text = " ".join(" ".join(page.text).split())
    assert "123 images. Straight lines explain 98.7% of what the logits do" in text
    assert "rises by 2.5 " in text
    assert "by up to 1.25 " in text
    assert "logits, image of class 1" in text
    ends = [text for text in page.text if text.strip() in ("−ε", "ε")]
    assert len(ends) == 4


def test_curves_run_through_their_values():
    """A straight line of the data is a straight line of the chart, and the highest value stands highest."""
    svg = probe_plots.linearity_curves(LinearityResult.from_json(line()), "salt")
    paths = [attributes["d"] for tag, attributes in Page(svg).tags if tag == "path" and "d" in attributes]
    curves = [
        np.array([pair.split()[-2:] for pair in path.strip().split("\n")], float) for path in paths if "L" in path
    ]
    curves = [curve for curve in curves if len(curve) == 41]
    assert len(curves) == 4  # the margin, and three logits of which the true one is drawn last
    for curve in curves:
        slopes = np.diff(curve[:, 1]) / np.diff(curve[:, 0])
        np.testing.assert_allclose(slopes, slopes[0], atol=1e-3)
    assert curves[0][0, 1] < curves[0][-1, 1]  # pixels count downwards


def fooled(shape=(8, 8, 1), **names):
    rng = np.random.default_rng(0)
    found = FoolingImages(rng.random((3, *shape)), np.arange(3), np.array([0.995, 0.991, 0.5]), 0.99, 70, 0)
    return Fooling(**{"model": "teacher.keras", "probe": "fooling-evolution"} | names, found=found)


@pytest.mark.usefixtures("no_charts")
def test_fooling_images_have_their_class_and_confidence(content, tmp_path):
    page = saved_page(Report(content, fooling=[fooled(), fooled((32, 32, 3), probe="fooling-gradient")]), tmp_path)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * 3
    assert images[1]["alt"] == "Noise that teacher.keras takes for class 1 with a probability of 99.1%"
    marks = [text.strip() for text in page.text if text.strip().endswith(("% ✓", "% ✗"))]
    assert marks == ["99.5% ✓", "99.1% ✓", "50.0% ✗"] * 2
    text = " ".join(page.text)
    assert "by evolution, without gradients" in text
    assert "by gradient ascent" in text


@pytest.mark.usefixtures("no_charts")
def test_minimum_norm_attacks_show_their_median(content, tmp_path):
    assert "median distance" not in " ".join(saved_page(Report(content), tmp_path).text)
    content["models"][0]["attacks"][0]["minimum_median"] = 0.05312345
    content["models"][1]["attacks"][0]["minimum_median"] = None
    page = saved_page(Report(content), tmp_path)
    tables = [table for table in page.tables if table[0][0] == "attack"]
    assert [[row[3] for row in table] for table in tables] == [
        ["median distance", "0.05312", "–"],
        ["median distance", "–", "–"],
    ]
    with open(tmp_path / "report.csv", newline="") as file:
        rows = [row["minimum_median"] for row in csv.DictReader(file)]
    assert rows == ["", "0.05312345", *[""] * 6]


STAGES = [
    {"name": "apgd-ce", "fell": 100, "robust_accuracy_after": 0.7225, "seconds": 2.0},
    {"name": "square", "fell": 0, "robust_accuracy_after": 0.7225, "seconds": 30.25},
]


@pytest.mark.usefixtures("no_charts")
def test_attacks_in_a_row_show_what_each_left(content, tmp_path):
    assert "fell to it" not in " ".join(saved_page(Report(content), tmp_path).text)
    plain = Report(content).table()
    content["models"][0]["attacks"][1] |= {"name": "autoattack", "stages": STAGES}
    page = saved_page(Report(content), tmp_path)
    (table,) = [table for table in page.tables if table[0][0] == "member"]
    assert table == [
        ["member", "fell to it", "left %", "seconds"],
        ["none yet", "–", "97.2", "–"],
        ["apgd-ce", "100", "72.2", "2.0"],
        ["square", "0", "72.2", "30.2"],
    ]
    added = [line for line in Report(content).table().splitlines() if "after" in line]
    assert added == ["autoattack %, teacher.keras: 97.2, 72.2 after apgd-ce, 72.2 after square"]
    assert len(Report(content).table().splitlines()) == len(plain.splitlines()) + 2


def test_hostile_text_appears_only_escaped(content, tmp_path):
    hostile = '"><script>alert(1)</script><img src=x onerror="alert(1)"> $\\frac{$'
    content["models"][0] |= {"name": hostile, "path": hostile, "kernels": hostile, "role": hostile}
    content["models"][0]["attacks"][0] |= {"name": hostile, "parameters": {hostile: {hostile: [hostile]}}}
    content["models"][0]["attacks"][0]["stages"] = [STAGES[0] | {"name": hostile}]
    content["models"][0]["checks"][0]["detail"] = hostile
    content["data"]["name"] = hostile
    content["models"][0]["probes"] = {"linearity": line() | {"loss": hostile}}
    content["transfer"] = MATRIX | {"attack": hostile, "sources": [hostile], "targets": [hostile, hostile]}
    report = Report(content, [panel(model=hostile, attack=hostile)], [fooled(model=hostile, probe=hostile)])
    page = saved_page(report, tmp_path)
    assert all(tag != "script" and "onerror" not in attributes for tag, attributes in page.tags)
    assert any(hostile in attributes.get("alt", "") for _, attributes in page.tags)
    assert hostile in page.text
    start = hostile[:20]  # the charts shorten long names
    svg = (tmp_path / "report.html").read_text(encoding="utf-8").split("<svg")[1:]
    assert all(start not in chart for chart in svg)
    assert any(text.startswith(start) and "…" in text for text in page.text)
