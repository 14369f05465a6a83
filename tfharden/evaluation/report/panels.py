"""Images that the page shows: attacked examples, and fooling images."""

import dataclasses
from typing import Any

import numpy as np

from tfharden.evaluation.probes.fooling import FoolingImages
from tfharden.evaluation.report import plots
from tfharden.evaluation.report.display import printable


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """Examples of one attack on one model, for the page's gallery.

    Attributes:
        model: the model's name, as the page shows it.
        attack: the attack's name.
        clean: images `[n, h, w, c]` within the threat's bounds.
        adversarial: the adversarial examples, of the same shape.
        labels: true classes `[n]`.
        clean_predictions: classes `[n]` that the model predicts for `clean`.
        adversarial_predictions: classes `[n]` that it predicts for `adversarial`.
    """

    model: str
    attack: str
    clean: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray

    def for_page(self, bounds: tuple[float, float]) -> dict[str, Any]:
        """The panel as the template shows it."""
        clean, adversarial = (np.asarray(images, np.float64) for images in (self.clean, self.adversarial))
        change = adversarial - clean
        scale = float(np.abs(change).max(initial=0)) or 1.0
        tiles = [
            (plots.image_tile(x, bounds), plots.image_tile(x_adv, bounds), plots.change_tile(delta, scale))
            for x, x_adv, delta in zip(clean, adversarial, change, strict=True)
        ]
        predictions = (self.labels, self.clean_predictions, self.adversarial_predictions)
        classes = [tuple(map(int, example)) for example in zip(*predictions, strict=True)]
        return {
            "model": printable(self.model),
            "attack": printable(self.attack),
            "scale": scale,
            "examples": list(zip(tiles, classes, strict=True)),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Fooling:
    """Fooling images of one model, for the page.

    Attributes:
        model: the model's name, as the page shows it.
        probe: how they were made: "fooling-gradient" or "fooling-evolution".
        found: images `[n, h, w, c]` within the threat's bounds, their classes and confidences.
    """

    model: str
    probe: str
    found: FoolingImages

    def for_page(self, bounds: tuple[float, float]) -> dict[str, Any]:
        """The images as the template shows them: class, PNG data URI, confidence, and whether it was reached."""
        found = self.found
        images = (plots.image_tile(image, bounds) for image in found.images)
        rows = zip(found.targets.tolist(), images, found.confidence.tolist(), found.success.tolist(), strict=True)
        tiles = [dict(zip(("label", "tile", "confidence", "fools"), row, strict=True)) for row in rows]
        return {"model": printable(self.model), "probe": printable(self.probe), "tiles": tiles}
