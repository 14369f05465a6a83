"""The page in a browser: nothing in its console, every picture there."""

import html
import json
import re
import shutil
import subprocess

import pytest

from tests._helpers.pages import made_up, panel
from tfharden.evaluation import Report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
# Writes what the browser made of the pictures into the page; the page itself runs no script.
LOOK = """<script>addEventListener("load", () => { document.body.dataset.seen = JSON.stringify({
  images: [...document.images].map(image => [image.complete, image.naturalWidth, image.naturalHeight]),
  charts: [...document.querySelectorAll("svg")].map(chart => chart.getBoundingClientRect().width),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
}); })</script>"""


def opened(page, profile, width=400):
    """What the browser wrote to its console, and the page as it was when all was loaded."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},800"]
    command = [BROWSER, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return re.findall(r"CONSOLE\S* (.*)", done.stderr), done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    Report(made_up(), [panel(), panel(shape=(9, 7, 3), attack="square")]).save(folder)
    return folder / "report.html"


def seen(page, profile):
    """What a page says of its pictures, opened as wide as a phone."""
    copy = page.with_name("looked_at.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy.write_text(text.replace("</head>", LOOK + "</head>"), encoding="utf-8")
    _, dom = opened(copy, profile)
    return json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', dom)[1]))


def test_nothing_in_the_console(page, tmp_path):
    console, dom = opened(page, tmp_path)
    assert console == []
    assert "teacher.keras" in dom


def test_the_console_is_heard(page, tmp_path):
    """A page that breaks its own policy is told so: else the test above could not fail."""
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text(encoding="utf-8").replace("</body>", "<script>alert(1)</script></body>"))
    console, _ = opened(broken, tmp_path)
    assert any("Content Security Policy" in line for line in console)


def test_every_picture_is_there_and_the_page_fits_a_phone(page, tmp_path):
    found = seen(page, tmp_path)
    assert len(found["images"]) == 2 * 3 * 3  # panels, examples, tiles
    assert all(complete and min(size) > 0 for complete, *size in found["images"])
    assert found["charts"]
    assert min(found["charts"]) > 100
    assert found["overflow"] <= 0


def test_a_missing_picture_is_seen(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    broken = page.with_name("missing.html")
    broken.write_text(re.sub(r'src="data:image/png;base64,[^"]{20}', 'src="data:image/png;base64,', text, count=1))
    found = seen(broken, tmp_path)
    assert [size for _, *size in found["images"]].count([0, 0]) == 1
