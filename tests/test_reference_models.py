"""The reference models are what their cards say."""

import pathlib
import re

import numpy as np
import pytest

import tfharden as th
from tfharden import _io, data

ROOT = pathlib.Path(__file__).parents[1]
CARDS = sorted((ROOT / "saved_models" / "reference").glob("*.md"))
# Where the data may lie beside the repository, for those that a machine without a network can't load by name.
BESIDE = {"mnist": ROOT.parent / "shared" / "data" / "mnist.npz"}


def facts(card):
    """The rows of two columns."""
    return dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", card.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_every_model_has_a_card():
    models = {path.stem for path in (ROOT / "saved_models" / "reference").glob("*.keras")}
    assert models == {card.stem for card in CARDS}
    assert models
    assert sum(path.stat().st_size for path in (ROOT / "saved_models" / "reference").iterdir()) <= 3_000_000


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_card(card):
    told, path = facts(card), card.with_suffix(".keras")
    assert _io.sha256(path) == told["sha256"]
    model = th.load_model(path)
    assert f"{model.count_params():,}" == told["parameters"]
    assert f"--seed={told['seed']}" in told["command"]
    epochs, steps = (int(re.search(rf"--{flag}=(\d+)", told["command"])[1]) for flag in ("epochs", "attack_steps"))
    # RSLAD and IAD see the clean image too.
    updates = 2 if re.search("--objective=(rslad|iad) ", told["command"]) else 1
    assert told["gradients a training image"] == str(epochs * (steps + updates))


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_accuracy_is_that_of_the_card(card):
    """Clean accuracy to the image, and accuracy under FGSM within one, since it hangs by rounding."""
    told = facts(card)
    name = told["data"].split(",")[0]
    beside = BESIDE.get(name)
    try:
        source = data.load(f"npz:{beside}" if beside and beside.exists() else name)
    except th.InputError as error:
        pytest.skip(str(error))
    x, y = data.take(source.test, 1000, seed=0)
    classifier = th.KerasClassifier(th.load_model(card.with_suffix(".keras")))
    assert f"{np.mean(classifier.predict(x) == y):.1%}" == told["clean accuracy"]
    epsilon = float(re.search(r"epsilon (\S+),", told["threat"])[1])
    robust = th.attacks.FGSM(th.Linf(epsilon))(classifier, x, y).robust_accuracy
    assert abs(100 * robust - float(told["FGSM"].rstrip("%"))) <= 0.1001
