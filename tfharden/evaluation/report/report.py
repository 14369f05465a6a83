"""Report of an evaluation: as JSON, CSV and a self-contained HTML page, and as a table for the terminal."""

import contextlib
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from tfharden import _io
from tfharden._deprecation import renamed_arguments
from tfharden.errors import InputError
from tfharden.evaluation.formats import percent
from tfharden.evaluation.report import measures, page, terminal
from tfharden.evaluation.report.display import for_display, setting
from tfharden.evaluation.report.panels import Fooling, Panel
from tfharden.evaluation.results import EvaluationResult

JSON, CSV, PAGE = "report.json", "report.csv", "report.html"
MAX_BYTES = 2**26
"""Size of the largest report.json that is read."""


class Report:
    """The result of an evaluation, and its images.

    Args:
        result: an `EvaluationResult`, or the entries of report.json.
        gallery: attacked examples to show on the page.
        fooling: fooling images to show on the page.
        has_images: whether the images of the evaluation are at hand. A loaded report has none, since report.json holds
            no images, and its page says so.

    Raises:
        InputError: `result` has other entries than report.json.

    Example:
        report = th.evaluate(["student.tflite"], photos.test, threat)
        report.save("report")
        th.Report.load("report").compare(report)
    """

    @renamed_arguments(content="result")
    def __init__(
        self,
        result: EvaluationResult | Mapping[str, Any],
        gallery: Sequence[Panel] = (),
        fooling: Sequence[Fooling] = (),
        *,
        has_images: bool = True,
    ) -> None:
        self.result = result if isinstance(result, EvaluationResult) else EvaluationResult.from_json(result)
        self.gallery, self.fooling, self.has_images = tuple(gallery), tuple(fooling), has_images

    @property
    def content(self) -> dict[str, Any]:
        """The entries of report.json."""
        return self.result.to_json()

    @classmethod
    def load(cls, path: _io.Path) -> Self:
        """The report that `save` wrote, without its images.

        Attacked examples and fooling images are only in report.html. A loaded report that is saved into its own folder
        therefore replaces a page with images by one without.

        Args:
            path: report.json, or the folder that it is in.

        Raises:
            InputError: the file can't be read, or is no report.json of this schema.
        """
        file = pathlib.Path(path)
        file = file / JSON if file.is_dir() else file
        try:
            with open(file, "rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"can't read {file}: {error.strerror or error}") from error
        try:
            return cls(_io.parse_json(content, MAX_BYTES), has_images=False)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None

    def save(self, directory: _io.Path) -> None:
        """Writes report.json, report.csv and report.html into `directory`, which is made; all three, or none.

        Raises:
            InputError: they can't be written.
            ValueError: a number is NaN or infinite.
        """
        shown = for_display(self.result)
        texts = {
            JSON: json.dumps(self.content, indent=2, allow_nan=False) + "\n",
            CSV: measures.as_csv(shown),
            PAGE: page.as_page(shown, self.gallery, self.fooling, has_images=self.has_images),
        }
        with contextlib.ExitStack() as stack:
            for name, text in texts.items():
                beside = stack.enter_context(_io.replacing(pathlib.Path(directory) / name))
                beside.write_text(text, encoding="utf-8", newline="")

    def table(self) -> str:
        """The main numbers as aligned text: a row a model, then what the members of AutoAttack left, and the checks."""
        return terminal.table(for_display(self.result))

    def merge(self, other: "Report") -> "Report":
        """One report of the models of both, of the same data, threat, seed and versions.

        Raises:
            InputError: the reports don't fit together.
        """
        return Report(
            self.result.merged(other.result),
            [*self.gallery, *other.gallery],
            [*self.fooling, *other.fooling],
            has_images=self.has_images and other.has_images,
        )

    def compare(self, other: "Report") -> str:
        """Accuracies of this report and of a later one as aligned text: a row a model and attack, old, new, change.

        Models and attacks are matched by their names; what only one report has is listed with a dash.

        Raises:
            InputError: the reports are of different data or threats.
        """
        self.result.check_comparable(other.result)
        return terminal.comparison(for_display(self.result), for_display(other.result))

    def __repr__(self) -> str:
        shown = for_display(self.result)
        models = (f"{model.name} {percent(model.worst_case.robust_accuracy)}%" for model in shown.models)
        return f"<Report: {setting(shown)}; worst case {', '.join(models) or 'of no model'}>"

    def _repr_html_(self) -> str:
        shown = for_display(self.result)
        header, *rows = terminal.rows(shown)
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<p>{html.escape(setting(shown))}</p><table><tr>{cells}</tr>{body}</table>"
