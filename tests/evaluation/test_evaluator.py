import csv
import itertools
import json

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.linear_models import (
    EPSILON,
    SHAPE,
    THREAT,
    by_name,
    content,
    examples,
    linear,
    margins,
    only,
    robust_by_hand,
    weak_and_strong,
)
from tfharden.attacks import FGSM, Square, Transfer
from tfharden.evaluation.statistics import wilson

# The numbers.


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("threat", [THREAT, th.L2(0.15)], ids=["linf", "l2"])
def test_robust_accuracy_is_the_closed_form(threat, softmax):
    model = linear(softmax=softmax)
    x, y = examples()
    margin, _ = margins(model, x, y)
    right, robust = margin > 0, robust_by_hand(model, x, y, threat)
    assert 0.2 < robust.mean() < right.mean() - 0.1 < 0.9
    found = only(content([model], (x, y), threat, ["fgsm", "pgd"]))
    assert found["clean_accuracy"] == pytest.approx(right.mean())
    assert found["clean_interval"] == pytest.approx(wilson(right.sum(), 200))
    for attack in found["attacks"]:
        assert attack["robust_accuracy"] == pytest.approx(robust.mean())
        assert attack["interval"] == pytest.approx(wilson(robust.sum(), 200))
        assert attack["success_rate"] == pytest.approx(1 - robust.sum() / right.sum())
        assert attack["access"] == "white-box"
    assert found["worst_case"]["robust_accuracy"] == pytest.approx(robust.mean())
    # FGSM takes one gradient, and one look afterwards, of each example that was right.
    fgsm = by_name(found)["fgsm"]
    assert (fgsm["gradients_mean"], fgsm["queries_mean"]) == (1.0, 1.0)


class Fixed(Square):
    """Finds what it was told to: it inverts the images `targets`."""

    def _search(self, classifier, search):
        for index in self.targets:
            if not search.solved[index]:
                _, direction = margins(self.model, search.origin[[index]], search.criterion.labels[[index]])
                step = -np.sign(direction) * (1 if search.criterion.labels[index] == 0 else -1)
                search.adversarial[index] = search.origin[index] + EPSILON * step.reshape(SHAPE).astype(np.float32)
                search.queries[index] += self.cost


def fixed(model, name, targets, cost=1):
    kind = type(name, (Fixed,), {"name": name, "targets": targets, "model": model, "cost": cost})
    return kind(THREAT)


def test_worst_case_is_for_each_example():
    """Two attacks that break other examples: each leaves three quarters, both together half."""
    model = linear()
    x, y = (np.concatenate(pair) for pair in zip(*weak_and_strong(model, 20), strict=True))
    attacks = [fixed(model, "first", range(10)), fixed(model, "second", range(10, 20))]
    found = only(content([model], (x, y), attacks=attacks))
    assert [attack["robust_accuracy"] for attack in found["attacks"]] == [0.75, 0.75]
    assert found["worst_case"] == {
        "robust_accuracy": 0.5,
        "interval": pytest.approx(list(wilson(20, 40))),
        "attacks": ["first", "second"],
    }


def test_rates_and_means_are_over_examples_that_were_right():
    model = linear()
    (x, y), _ = weak_and_strong(model, 10)
    y[:4] = 1 - y[:4]
    # Of ten, four are wrong when clean; of the six others two are attacked, at 9 queries each.
    found = only(content([model], (x, y), attacks=[fixed(model, "two", [0, 4, 5], cost=9)]))
    (attack,) = found["attacks"]
    assert found["clean_accuracy"] == pytest.approx(0.6)
    assert attack["robust_accuracy"] == pytest.approx(0.4)
    assert attack["success_rate"] == pytest.approx(2 / 6)
    assert attack["queries_mean"] == pytest.approx(9 * 2 / 6)


def test_nothing_right_when_clean():
    model = linear()
    x, _ = examples(20, noise=0.0)
    found = only(content([model], (x, 1 - model.predict(x, verbose=0).argmax(axis=-1)), attacks=["pgd", "square"]))
    assert found["clean_accuracy"] == found["worst_case"]["robust_accuracy"] == 0.0
    for attack in found["attacks"]:
        assert attack["success_rate"] is None
        assert attack["queries_mean"] == attack["gradients_mean"] == 0.0


def test_epsilon_zero_is_the_clean_accuracy():
    found = only(content([linear()], examples(), th.Linf(0.0), ["fgsm", "pgd", "square"]))
    for attack in found["attacks"]:
        assert attack["robust_accuracy"] == found["clean_accuracy"]


def test_lattice_counts_in_the_clean_accuracy_too():
    """On a lattice of two values an image of 0.4 is 0: a model that looks for less than 0.3 changes its mind."""
    kernel = np.zeros((16, 2))
    kernel[:, 0] = 1 / 16
    model = linear(kernel, bias=(0.0, 0.3))  # class 0 iff the mean is above 0.3
    x, y = np.full((4, *SHAPE), 0.4, np.float32), np.zeros(4, np.int32)
    assert only(content([model], (x, y), th.Linf(0.01)))["clean_accuracy"] == 1.0
    assert only(content([model], (x, y), th.Linf(0.01, (0, 1), 1.0)))["clean_accuracy"] == 0.0


def test_labels_and_images_of_other_types_give_the_same():
    x, y = examples()
    attacks = ["fgsm", "pgd"]
    threat = th.Linf(EPSILON, (0, 1), 1 / 255)
    expected = only(content([linear()], (x, y), threat, attacks))
    kinds = [
        (x, y[:, None]),
        (x, y.astype(np.float64)),
        (x, list(map(int, y))),
        (x.astype(np.float64), y.astype(np.uint8)),
        (x.tolist(), y.tolist()),
    ]
    for data in kinds:
        found = only(content([linear()], data, threat, attacks))
        for key in ("clean_accuracy", "worst_case"):
            assert found[key] == expected[key]


# Models without gradients.


@pytest.mark.parametrize("recipe", ["float32", "int8"])
@pytest.mark.parametrize("open_as", [str, th.TFLiteClassifier], ids=["by its twin", "as a black box"])
def test_tflite_is_attacked_by_its_twin_or_by_transfer(files, recipe, open_as):
    x, y = examples()
    model, path = linear(), files / f"{recipe}.tflite"
    found = content([model, open_as(path)], (x, y), attacks=["fgsm", "pgd", "square"])["models"]
    tflite = by_name(found[1])
    assert list(tflite) == ["fgsm", "pgd", "square"]
    if open_as is str:
        assert [attack["access"] for attack in tflite.values()] == ["white-box", "white-box", "score"]
        assert found[1]["twin"]["missing"] is None
        assert (found[1]["twin"]["exact"], found[1]["twin"]["classes"], found[1]["twin"]["largest_lsb"]) == (1, 1, 0)
    else:
        assert [attack["access"] for attack in tflite.values()] == ["transfer", "transfer", "score"]
        assert tflite["pgd"]["parameters"]["surrogate"] == "linear"
        assert found[1]["twin"] == {"missing": "it was opened as a black box"}
    assert {attack["lost_to_rounding"] for attack in tflite.values()} == {0}
    # A file that computes what its source computes falls with it, but for rounding.
    robust = robust_by_hand(model, x, y).mean()
    assert found[1]["worst_case"]["robust_accuracy"] == pytest.approx(robust, abs=0.03)
    assert tflite["pgd"]["robust_accuracy"] == pytest.approx(robust, abs=0.03)
    assert found[1]["format"] == f"tflite-{recipe}"
    assert found[1]["kernels"] == "xnnpack"
    assert found[1]["bytes"] == path.stat().st_size
    assert found[0]["kernels"] is None


def test_surrogate_is_the_last_keras_model_or_the_one_named(files):
    data, box = examples(20), th.TFLiteClassifier(files / "int8.tflite")
    last = content([linear(name="one"), box, linear(name="two"), box], data)["models"]
    assert {by_name(last[i])["pgd"]["parameters"]["surrogate"] for i in (1, 3)} == {"two"}
    named = content([linear(name="one"), box], data, surrogate=linear(name="other"))["models"]
    assert by_name(named[1])["pgd"]["parameters"]["surrogate"] == "other"
    alone = only(content([box], data, surrogate=files / "linear.keras"))
    assert by_name(alone)["pgd"]["parameters"]["surrogate"] == "linear.keras"


def test_transfer_that_was_asked_for_is_kept(files):
    attack = Transfer(FGSM(THREAT), th.KerasClassifier(linear(name="chosen")))
    found = only(content([linear()], examples(20), attacks=[attack]))
    assert by_name(found)["fgsm"]["access"] == "transfer"


def test_callable_model():
    """A function is a black box: Square, on a linear model whose closed form it can't beat."""
    model = linear()
    kernel, bias = model.get_weights()
    black = th.CallableClassifier(lambda x: x.reshape(len(x), -1) @ kernel + bias, SHAPE, 2, name="box")
    x, y = examples()
    found = only(content([black], (x, y), attacks=[Square(THREAT, queries=300)]))
    robust = robust_by_hand(model, x, y).mean()
    assert robust - 1e-9 <= found["worst_case"]["robust_accuracy"] <= robust + 0.1
    assert found["worst_case"]["robust_accuracy"] < found["clean_accuracy"] - 0.1
    assert (found["name"], found["format"], found["path"], found["parameters"]) == ("box", "callable", None, None)


# Side effects and repetition.


def with_norm_and_dropout():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def test_models_are_left_as_they_were():
    model = with_norm_and_dropout()
    model.compile("adam")
    model.layers[0].trainable = False
    before = [v.numpy().copy() for v in model.variables]
    content([model], examples(30), attacks=["fgsm", "pgd", "square"])
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old, err_msg=variable.path)
    assert model.layers[0].trainable is False
    assert model.trainable is True
    assert model.compiled


def without_seconds(found):
    for model, index in itertools.product(found["models"], range(3)):
        assert model["attacks"][index].pop("seconds") >= 0
        model["latency"] = None
    return found


def test_same_seed_same_report(files):
    models = [with_norm_and_dropout(), files / "int8.tflite"]
    data = examples(40)
    attacks = ["fgsm", "pgd", "square"]
    x = data[0].copy()
    first, again, other = (without_seconds(content(models, data, attacks=attacks, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    np.testing.assert_array_equal(data[0], x)
    parameters = by_name(first["models"][0])
    assert parameters["pgd"]["parameters"]["seed"] == parameters["square"]["parameters"]["seed"] == first["seed"] == 3


# The report.

MODEL_KEYS = {
    *("name", "path", "format", "sha256", "bytes", "parameters", "kernels", "twin", "latency"),
    *("clean_accuracy", "clean_interval", "attacks", "worst_case", "checks", "probes"),
}
ATTACK_KEYS = {
    *("name", "access", "robust_accuracy", "interval", "success_rate", "queries_mean", "gradients_mean"),
    *("seconds", "parameters", "lost_to_rounding"),
}


def test_schema(files, tmp_path):
    threat = th.Linf(EPSILON, (0, 1), 1 / 255)
    models = [files / "linear.keras", files / "int8.tflite", files / "float32.tflite", linear()]
    report = th.evaluate(models, examples(40), threat, ["fgsm", "pgd", "square"], data_name="made", seed=5)
    report.save(tmp_path / "report")
    assert {file.name for file in (tmp_path / "report").iterdir()} == {"report.json", "report.csv", "report.html"}
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    keys = {"schema", "versions", "seed", "data", "threat", "models", "transfer", "differential"}
    assert found.keys() == keys
    assert found["schema"] == "tfharden.report/1"
    assert found["threat"] == {"norm": "Linf", "epsilon": EPSILON, "bounds": [0.0, 1.0], "lattice": 1 / 255}
    assert found["data"].keys() == {"name", "num_examples", "sha256"}
    assert (found["data"]["name"], found["data"]["num_examples"], found["seed"]) == ("made", 40, 5)
    assert {"tfharden", "tensorflow", "keras"} <= found["versions"].keys()
    for model in found["models"]:
        assert model.keys() == MODEL_KEYS
        assert model["worst_case"].keys() == {"robust_accuracy", "interval", "attacks"}
        for attack in model["attacks"]:
            assert attack.keys() == ATTACK_KEYS
            assert attack["access"] in {"white-box", "score", "decision", "transfer"}
            assert attack["parameters"]["epsilon"] == EPSILON
        for check in model["checks"]:
            assert check.keys() == {"name", "status", "detail"}
            assert check["status"] in {"pass", "warn", "fail"}
    # The converter drops a bias of zeros.
    assert [model["parameters"] for model in found["models"]] == [34, 32, 32, 34]
    with open(tmp_path / "report" / "report.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * (1 + 3 + 1)


def test_hash_tells_data_apart():
    x, y = examples(20)
    digests = [content([linear()], data)["data"]["sha256"] for data in ((x, y), (x, y), (x, 1 - y), (x[::-1], y))]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_progress_is_told():
    told = []
    content(
        [linear()], examples(20), attacks=["pgd", "square"], progress=lambda label, share: told.append((label, share))
    )
    assert {label for label, _ in told} == {"linear: pgd", "linear: square", "linear: checks"}
    for label in ("linear: pgd", "linear: square", "linear: checks"):
        shares = [share for name, share in told if name == label]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_vectors_are_images_too(tmp_path):
    """A model of flat inputs has no pixels to show, and still a report."""
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    x = np.random.default_rng(0).random((30, 6), np.float32)
    report = th.evaluate([model], (x, np.arange(30) % 3), THREAT, ["pgd"])
    report.save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["data"]["num_examples"] == 30
