"""Recipes: commands that train a model, run once each, and the figures of what they make."""

import dataclasses
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

import tfharden as th
from benchmarks.common import mnist_models, tables
from tfharden import _io, attacks
from tfharden.data.examples import Examples

ATTACKS = ("fgsm", "pgd", "autoattack")
# Figures are kept with the project, so that a table goes on, and can be checked, where the models are gone.
FIGURES = pathlib.Path("benchmarks/results/figures")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A command.

    Attributes:
        label: of the row.
        epsilon: radius that the model is attacked with.
        flags: of the tool, but for data and output; "{folder}" stands for where the models of its table are kept.
        network: "wong" for the network of Wong et al. (2020), or else what the flags say.
        tool: the command; none for a model that is there already, whose path is the only flag.
        seeds: number of seeds, from 0.
        seed: the one of these that it is.
    """

    label: str
    epsilon: float
    flags: tuple[str, ...]
    network: str = ""
    tool: str = "tfharden-harden"
    seeds: int = 1
    seed: int = 0

    def seeded(self, seed: int) -> "Recipe":
        """The same with that seed."""
        return dataclasses.replace(self, flags=(*self.flags, f"--seed={seed}"), seed=seed)


def flags(*given: dict[str, object] | str) -> tuple[str, ...]:
    """Settings as flags, later ones before earlier ones; a bare word is the objective."""
    merged: dict[str, object] = {}
    for part in given:
        merged |= {"objective": part} if isinstance(part, str) else part
    return tuple(f"--{name}={value}" for name, value in merged.items())


@dataclasses.dataclass(frozen=True)
class Table:
    """Recipes, their models and their figures in one folder, so that a benchmark that was killed goes on.

    Attributes:
        recipes: by name.
        folder: where models are kept.
        figures: where their figures are kept.
        data: what --data says.
        measure: figures of a trained model, whose file and recipe it gets.
    """

    recipes: Mapping[str, Recipe]
    folder: pathlib.Path
    figures: pathlib.Path
    data: str
    measure: Callable[[pathlib.Path, Recipe], dict[str, Any]]

    def path(self, name: str, seed: int = 0) -> pathlib.Path:
        """Where that recipe's model is kept."""
        return self.folder / f"{name}-{seed}.keras"

    def told(self, name: str, seed: int = 0) -> dict[str, Any] | None:
        """Figures of that recipe's model, if it was made by these very flags."""
        figures = self._figures(name, seed)
        found = json.loads(figures.read_text()) if figures.exists() else None
        return found if found and set(found["flags"]) == set(self.recipes[name].seeded(seed).flags) else None

    def found(self, only: Sequence[str]) -> dict[str, list[dict]]:
        """Figures of each seed, by recipe: of those in `only` (all if it is empty), and of those that were ever run."""
        found = {}
        for name, recipe in self.recipes.items():
            if not only or name in only or self._figures(name, 0).exists():
                found[name] = [self._made(name, recipe.seeded(seed)) for seed in range(recipe.seeds)]
                print(name, *found[name], flush=True)
        return found

    def lineage(self, name: str) -> list[str]:
        """Flags of the recipes that the model comes from, its own last."""
        flags = self.recipes[name].flags
        return [*(flag for source in self._sources(self.recipes[name]) for flag in self.lineage(source)), *flags]

    def made(self, name: str) -> pathlib.Path:
        """That recipe's model of seed 0, made now if it isn't there."""
        model, recipe = self.path(name), self.recipes[name].seeded(0)
        if self.told(name) is None:
            self._made(name, recipe)
        elif not model.exists():
            self._train(recipe, model)
        return model

    def commands(self, names: Sequence[str]) -> list[str]:
        """A line each, for below the table."""
        return [f"- {r.label}: `{' '.join([r.tool, *r.flags]).strip()}`" for r in map(self.recipes.__getitem__, names)]

    def _sources(self, recipe: Recipe) -> list[str]:
        """Names of the recipes whose models this one's flags name."""
        return re.findall(r"{folder}/(\w+)-0\.keras", " ".join(recipe.flags))

    def _figures(self, name: str, seed: int) -> pathlib.Path:
        return self.figures / f"{name}-{seed}.json"

    def _made(self, name: str, recipe: Recipe) -> dict[str, Any]:
        """Trains and measures, unless that was done before by the same command."""
        model = self.path(name, recipe.seed)
        if told := self.told(name, recipe.seed):
            return told
        self.figures.mkdir(parents=True, exist_ok=True)
        found = {"flags": list(recipe.flags), "minutes": self._train(recipe, model)}
        found |= self.measure(model, recipe)
        _io.write_text(self._figures(name, recipe.seed), json.dumps(found, indent=1))
        return found

    def _train(self, recipe: Recipe, model: pathlib.Path) -> float | None:
        """Minutes that the command took, None if it went on after a kill, or there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not recipe.tool:
            shutil.copy(recipe.flags[0], model)
            return None
        for source in self._sources(recipe):
            self.made(source)
        command = [flag.format(folder=self.folder) for flag in recipe.flags]
        command += [f"--dataset={tables.named(self.data)}", f"--output={model}", "--overwrite"]
        if recipe.network == "wong":
            keras.utils.set_random_seed(recipe.seed)
            mnist_models.network(as_pytorch=True).save(self.folder / "wong.keras")
            command.append(f"--model={self.folder / 'wong.keras'}")
        resumed = model.with_name(f"{model.name}.unfinished").exists()
        began = time.monotonic()
        subprocess.run([pathlib.Path(sys.executable).with_name(recipe.tool), *command], check=True)
        # What went on after a kill took longer than this.
        return None if resumed else (time.monotonic() - began) / 60


def attacked(examples: Examples, names: Sequence[str] = ATTACKS) -> Callable[[pathlib.Path, Recipe], dict[str, Any]]:
    """Measures what each of these attacks leaves of a model on these images, and what all of them leave ("worst")."""

    def measure(path: pathlib.Path, recipe: Recipe) -> dict[str, Any]:
        x, y = examples
        classifier = th.KerasClassifier(th.load_model(path))
        found = {"parameters": classifier.model.count_params(), "clean": float(np.mean(classifier.predict(x) == y))}
        fell = np.zeros(len(y), bool)
        for name in names:
            result = attacks.get(name, th.Linf(recipe.epsilon))(classifier, x, y)
            fell |= result.success
            found[name] = result.robust_accuracy
            found |= {f"fell to {stage.name}": int(stage.succeeded) for stage in result.stages}
        return found | {"worst": float(1 - fell.mean())}

    return measure


def shares(found: Sequence[dict], names: Sequence[str] = ("clean", *ATTACKS)) -> list[str]:
    """Each figure in percent: the mean over seeds, and their range where there are several."""
    return [_spread([100 * each[name] for each in found]) for name in names]


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def minutes(found: Sequence[dict]) -> str:
    """Mean over the seeds that weren't killed on the way."""
    known = [each["minutes"] for each in found if each["minutes"] is not None]
    return f"{statistics.mean(known):.1f}" if known else "–"
