"""Reports made up by hand, and their pages read back."""

import html.parser

import numpy as np

from tfharden.evaluation.report.panels import Panel
from tfharden.evaluation.statistics import wilson

N = 400
VOID = {"meta", "img", "path", "br", "link", "input", "hr", "use", "rect"}


def attack(name, access, right, clean, **parameters):
    return {
        "name": name,
        "access": access,
        "robust_accuracy": right / N,
        "interval": list(wilson(right, N)),
        "success_rate": 1 - right / clean,
        "queries_mean": 41.5,
        "gradients_mean": 40.0,
        "seconds": None if access == "transfer" else 1.25,
        "parameters": parameters,
    }


def model(path, *, clean, worst, attacks, size=50_000, **extra):
    return {
        "path": path,
        "format": "keras",
        "sha256": "0" * 64,
        "bytes": size,
        "parameters": 11_242,
        "kernels": None,
        "latency": None,
        "clean_accuracy": clean / N,
        "clean_interval": list(wilson(clean, N)),
        "attacks": attacks,
        "worst_case": {"robust_accuracy": worst / N, "interval": list(wilson(worst, N)), "attacks": ["pgd", "square"]},
        "twin": None,
        "checks": [{"name": "gradients", "status": "pass", "detail": "none vanish"}],
        "probes": {},
    } | extra


def made_up():
    """What an evaluation of two models might have found."""
    keras = [attack("fgsm", "white-box", 331, 389), attack("pgd", "white-box", 281, 389, steps=40)]
    tflite = [attack("pgd", "transfer", 293, 380), attack("square", "score", 288, 380)]
    return {
        "schema": "tfharden.report/1",
        "versions": {"tfharden": "0.1.0"},
        "seed": 7,
        "data": {"name": "digits", "num_examples": N, "sha256": "f" * 64},
        "threat": {"norm": "Linf", "epsilon": 0.15, "bounds": [0.0, 1.0], "lattice": None},
        "models": [
            model("runs/teacher.keras", clean=389, worst=279, attacks=keras, size=1_985_408),
            model("runs/student.tflite", clean=380, worst=283, attacks=tflite, kernels="XNNPACK", role="student"),
        ],
        "transfer": {},
        "differential": {},
    }


def panel(shape=(8, 8, 1), n=3, **names):
    rng = np.random.default_rng(0)
    clean = rng.random((n, *shape))
    adversarial = np.clip(clean + rng.choice([-0.15, 0.15], clean.shape), 0, 1)
    labels = np.arange(n)
    named = {"model": "teacher.keras", "attack": "pgd"} | names
    return Panel(**named, clean=clean, adversarial=adversarial, labels=labels, clean_predictions=labels,
                 adversarial_predictions=labels[::-1])  # fmt: skip


class Page(html.parser.HTMLParser):
    """Tags with attributes, text outside of style, and the cells of each table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.tables, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def saved_page(report, folder):
    report.save(folder)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def percent_cell(accuracy, interval):
    return f"{100 * accuracy:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
