"""Numbers of an evaluation against closed forms and hand-made attacks."""

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
    linear_classifier,
    margins,
    only,
    robust_by_hand,
    weak_and_strong,
    without_seconds,
)
from tfharden.attacks import FGSM, PGD, Square, Transfer
from tfharden.evaluation.statistics import wilson

pytestmark = pytest.mark.usefixtures("no_checks")

# The numbers.


@pytest.mark.parametrize("threat", [THREAT, th.L2(0.15)], ids=["linf", "l2"])
def test_robust_accuracy_is_the_closed_form(threat):
    model = linear()
    x, y = examples()
    margin, _ = margins(model, x, y)
    right, robust = margin > 0, robust_by_hand(model, x, y, threat)
    assert 0.2 < robust.mean() < right.mean() - 0.1 < 0.9
    models = [linear_classifier(), linear_classifier(softmax=True)]
    for found in content(models, (x, y), threat, ["fgsm", "pgd"])["models"]:
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
                _, direction = margins(linear(), search.origin[[index]], search.criterion.labels[[index]])
                step = -np.sign(direction) * (1 if search.criterion.labels[index] == 0 else -1)
                search.adversarial[index] = search.origin[index] + EPSILON * step.reshape(SHAPE).astype(np.float32)
                search.queries[index] += self.cost


def fixed(name, targets, cost=1):
    kind = type(name, (Fixed,), {"name": name, "targets": targets, "cost": cost})
    return kind(THREAT)


def test_worst_case_is_for_each_example():
    """Two attacks that break other examples: each leaves three quarters, both together half."""
    x, y = (np.concatenate(pair) for pair in zip(*weak_and_strong(linear(), 20), strict=True))
    attacks = [fixed("first", range(10)), fixed("second", range(10, 20))]
    found = only(content([linear_classifier()], (x, y), attacks=attacks))
    assert [attack["robust_accuracy"] for attack in found["attacks"]] == [0.75, 0.75]
    assert found["worst_case"] == {
        "robust_accuracy": 0.5,
        "interval": pytest.approx(list(wilson(20, 40))),
        "attacks": ["first", "second"],
    }


def test_rates_and_means_are_over_examples_that_were_right():
    (x, y), _ = weak_and_strong(linear(), 10)
    y[:4] = 1 - y[:4]
    # Of ten, four are wrong when clean; of the six others two are attacked, at 9 queries each.
    found = only(content([linear_classifier()], (x, y), attacks=[fixed("two", [0, 4, 5], cost=9)]))
    (attack,) = found["attacks"]
    assert found["clean_accuracy"] == pytest.approx(0.6)
    assert attack["robust_accuracy"] == pytest.approx(0.4)
    assert attack["success_rate"] == pytest.approx(2 / 6)
    assert attack["queries_mean"] == pytest.approx(9 * 2 / 6)


def test_nothing_right_when_clean():
    x, _ = examples(20, noise=0.0)
    wrong = 1 - linear_classifier().predict(x)
    found = only(content([linear_classifier()], (x, wrong), attacks=["pgd", "square"]))
    assert found["clean_accuracy"] == found["worst_case"]["robust_accuracy"] == 0.0
    for attack in found["attacks"]:
        assert attack["success_rate"] is None
        assert attack["queries_mean"] == attack["gradients_mean"] == 0.0


def test_epsilon_zero_is_the_clean_accuracy():
    found = only(content([linear_classifier()], examples(), th.Linf(0.0), ["fgsm", "pgd", "square"]))
    for attack in found["attacks"]:
        assert attack["robust_accuracy"] == found["clean_accuracy"]


def test_lattice_counts_in_the_clean_accuracy_too():
    """On a lattice of two values an image of 0.4 is 0: a model that looks for less than 0.3 changes its mind."""
    kernel = np.zeros((16, 2))
    kernel[:, 0] = 1 / 16
    model = linear(kernel, bias=(0.0, 0.3))  # class 0 iff the mean is above 0.3
    x, y = np.full((4, *SHAPE), 0.4, np.float32), np.zeros(4, np.int32)
    for lattice, accuracy in ((None, 1.0), (1.0, 0.0)):
        threat = th.Linf(0.01, (0, 1), lattice)
        found = content([model], (x, y), threat, [Square(threat, queries=1)])
        assert only(found)["clean_accuracy"] == accuracy


def test_labels_and_images_of_other_types_give_the_same():
    x, y = examples()
    threat = th.Linf(EPSILON, (0, 1), 1 / 255)
    expected = only(content([linear_classifier()], (x, y), threat, ["fgsm"]))
    kinds = [
        (x, y[:, None]),
        (x, y.astype(np.float64)),
        (x, list(map(int, y))),
        (x.astype(np.float64), y.astype(np.uint8)),
        (x.tolist(), y.tolist()),
    ]
    for data in kinds:
        found = only(content([linear_classifier()], data, threat, ["fgsm"]))
        for key in ("clean_accuracy", "worst_case"):
            assert found[key] == expected[key]


# Models without gradients.


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_tflite_is_attacked_by_its_twin_or_by_transfer(files, recipe):
    x, y = examples()
    path = files / f"{recipe}.tflite"
    models = [linear_classifier(), str(path), th.TFLiteClassifier(path)]
    attacks = ["fgsm", "pgd", Square(THREAT, queries=50)]
    source, file, box = content(models, (x, y), attacks=attacks, surrogate=models[0])["models"]
    assert source["kernels"] is None
    assert [attack["access"] for attack in file["attacks"]] == ["white-box", "white-box", "score"]
    assert [attack["access"] for attack in box["attacks"]] == ["transfer", "transfer", "score"]
    assert file["twin"]["missing"] is None
    assert (file["twin"]["exact"], file["twin"]["classes"], file["twin"]["largest_lsb"]) == (1, 1, 0)
    assert by_name(box)["pgd"]["parameters"]["surrogate"] == "linear"
    assert box["twin"] == {"missing": "it was opened as a black box"}
    # A file that computes what its source computes falls with it, but for rounding.
    robust = robust_by_hand(linear(), x, y).mean()
    for found in (file, box):
        assert list(by_name(found)) == ["fgsm", "pgd", "square"]
        assert {attack["lost_to_rounding"] for attack in found["attacks"]} == {0}
        assert found["worst_case"]["robust_accuracy"] == pytest.approx(robust, abs=0.03)
        assert by_name(found)["pgd"]["robust_accuracy"] == pytest.approx(robust, abs=0.03)
        assert found["format"] == f"tflite-{recipe}"
        assert found["kernels"] == "xnnpack"
        assert found["bytes"] == path.stat().st_size


@pytest.mark.slow
def test_surrogate_is_the_last_keras_model_or_the_one_named(files):
    data, box = examples(20), th.TFLiteClassifier(files / "int8.tflite")
    one, two, other = (linear(name=name) for name in ("one", "two", "other"))
    last = content([one, box, two, box], data, attacks=["fgsm"])["models"]
    assert {by_name(last[i])["fgsm"]["parameters"]["surrogate"] for i in (1, 3)} == {"two"}
    named = content([one, box], data, attacks=["fgsm"], surrogate=other)["models"]
    assert by_name(named[1])["fgsm"]["parameters"]["surrogate"] == "other"
    alone = only(content([box], data, attacks=["fgsm"], surrogate=files / "linear.keras"))
    assert by_name(alone)["fgsm"]["parameters"]["surrogate"] == "linear.keras"


def test_transfer_that_was_asked_for_is_kept():
    attack = Transfer(FGSM(THREAT), linear_classifier())
    found = only(content([linear_classifier()], examples(20), attacks=[attack]))
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


def test_vectors_are_images_too(tmp_path):
    """A model of flat inputs has no pixels to show, and still a report."""
    weights = np.random.default_rng(0).normal(size=(6, 3))
    model = th.CallableClassifier(lambda x: x @ weights, (6,), 3)
    x = np.random.default_rng(0).random((30, 6), np.float32)
    report = th.evaluate([model], (x, np.arange(30) % 3), THREAT, [Square(THREAT, queries=3)])
    report.save(tmp_path)
    assert th.Report.load(tmp_path).result.data.num_examples == 30
    assert report.gallery == ()


def test_nothing_but_probes_leaves_the_clean_accuracy(tmp_path):
    report = th.evaluate([linear_classifier()], examples(20), THREAT, [], probes=["fooling-evolution"])
    (model,) = report.result.models
    assert model.attacks == model.worst_case.attacks == ()
    assert model.worst_case.robust_accuracy == model.clean_accuracy
    report.save(tmp_path)


class Nearest(Square):
    """A minimum-norm attack that finds what it was told to."""

    minimises = True

    def _search(self, classifier, search):
        found = np.array(self.told)
        search.minimum[:] = np.where(search.minimum > 0, found[: len(search.minimum)], 0)


def test_minimum_norm_attacks_tell_the_median_over_what_was_right(tmp_path):
    (x, y), _ = weak_and_strong(linear(), 5)
    y[3:] = 1 - y[3:]
    minima = {"some": [0.3, 0.1, 0.2, 9, 9], "one": [0.3, np.inf, np.inf, 9, 9], "same": [0.3] * 5}
    attacks = [type(name, (Nearest,), {"name": name, "told": told})(THREAT) for name, told in minima.items()]
    report = th.evaluate([linear_classifier()], (x, y), THREAT, [*attacks, "fgsm"])
    report.save(tmp_path)
    for found in (report.content, th.Report.load(tmp_path).content):
        some, one, same, fgsm = only(found)["attacks"]
        assert [some["minimum_median"], same["minimum_median"]] == pytest.approx([0.2, 0.3])
        assert one["minimum_median"] is None
        assert "minimum_median" not in fgsm


# Names.


@pytest.mark.slow
def test_attacks_of_one_name_are_numbered_wherever_the_report_names_them(tmp_path):
    told = []
    attacks = [PGD(THREAT, steps=1), "fgsm", PGD(THREAT, steps=9), Square(THREAT, queries=5), PGD(THREAT, steps=3)]
    report = th.evaluate(
        [linear_classifier(), linear(bias=(0.3, 0.0), name="two")],
        examples(40),
        THREAT,
        attacks,
        progress=lambda label, share: told.append(label),
    )
    names = ["pgd", "fgsm", "pgd #2", "square", "pgd #3"]
    for model in report.content["models"]:
        assert [attack["name"] for attack in model["attacks"]] == model["worst_case"]["attacks"] == names
        steps = {attack["name"]: attack["parameters"].get("steps") for attack in model["attacks"]}
        assert (steps["pgd"], steps["pgd #2"], steps["pgd #3"]) == (1, 9, 3)
    assert list(dict.fromkeys(told))[:5] == [f"linear: {name}" for name in names]
    header = next(line for line in report.table().splitlines() if line.startswith("model"))
    assert header.split(" %")[1:-2] == ["  pgd", "  fgsm", "  pgd #2", "  square", "  pgd #3"]
    row = next(line for line in report.table().splitlines() if line.startswith("linear")).split()
    found = [attack["robust_accuracy"] for attack in report.content["models"][0]["attacks"]]
    assert row[4:9] == [f"{100 * share:.1f}" for share in found]


def test_the_gallery_names_the_strongest_by_the_reports_name():
    class Idle(Square):
        name = "pgd"

        def _search(self, classifier, search):
            pass

    report = th.evaluate([linear_classifier()], examples(40), THREAT, [Idle(THREAT), PGD(THREAT, steps=9)])
    assert report.gallery[0].attack == "pgd #2"


# Side effects and repetition.


def with_norm_and_dropout():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input(SHAPE), layers.BatchNormalization(), layers.Dropout(0.5), layers.Flatten(), layers.Dense(2)]
    )


def test_same_seed_same_report_and_models_are_left_as_they_were(files):
    model = with_norm_and_dropout()
    model.compile("adam")
    model.layers[0].trainable = False
    before = [v.numpy().copy() for v in model.variables]
    models, data = [th.KerasClassifier(model), th.as_classifier(files / "int8.tflite")], examples(40)
    settings = {"attacks": ["fgsm", "pgd", "noise"]}
    x = data[0].copy()
    first, again, other = (content(models, data, seed=seed, **settings) for seed in (3, 3, 4))
    assert without_seconds(first) == without_seconds(again)
    assert without_seconds(first) != without_seconds(other)
    np.testing.assert_array_equal(data[0], x)
    parameters = by_name(first["models"][0])
    assert parameters["pgd"]["parameters"]["seed"] == parameters["noise"]["parameters"]["seed"] == first["seed"] == 3
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old, err_msg=variable.path)
    assert model.layers[0].trainable is False
    assert model.trainable is True
    assert model.compiled


def test_hash_tells_data_apart():
    x, y = examples(20)
    data = ((x, y), (x, y), (x, 1 - y), (x[::-1], y))
    digests = [content([linear_classifier()], kind, attacks=["fgsm"])["data"]["sha256"] for kind in data]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
