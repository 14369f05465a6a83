import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tfharden.attacks import FGSM, PGD, Square
from tfharden.attacks.base import AttackResult
from tfharden.errors import InputError
from tfharden.evaluation import checks

SHAPE = (4, 4, 1)


def result(access, success, *, gradients=0, blind=0, name="made up"):
    """An attack's result of which only what checks look at is filled in; `blind` counts over all examples."""
    success = np.array(success, bool)
    count = len(success)
    unseen = np.zeros(count, np.int64)
    unseen[: min(count, 1)] = blind
    return AttackResult(
        name=name,
        access=access,
        adversarial=np.zeros((count, *SHAPE), np.float32),
        success=success,
        distance=np.zeros(count),
        queries=np.zeros(count, np.int64),
        gradients=np.full(count, gradients),
        blind=unseen,
        seconds=0.0,
        parameters={},
        lost=np.zeros(count, bool),
    )


def fell(share, count=1000, first=0):
    """`share` of the examples fell, from `first` on."""
    success = np.zeros(count, bool)
    success[first : first + round(share * count)] = True
    return success


class Stub(th.Classifier):
    def __init__(self, scores="logits"):
        self.scores, self.name, self.input_shape, self.num_classes = scores, "stub", SHAPE, 2

    def logits(self, images):
        raise NotImplementedError


def statuses(results, scores="logits"):
    found = checks.run(Stub(scores), results, None)
    assert all(check.keys() == {"name", "status", "detail"} and "\n" not in check["detail"] for check in found)
    return {check["name"]: check["status"] for check in found}


BLACK, STEPS = "black box not stronger than white box", "one step not stronger than many"


@pytest.mark.parametrize(
    ("scores", "status"),
    [("logits", "pass"), ("logits before the last activation", "pass"), ("log of probabilities", "warn")],
)
def test_scores(scores, status):
    assert statuses([], scores) == {"scores": status}


@pytest.mark.parametrize(
    ("blind", "status"), [(0, "pass"), (1, "warn"), (199, "warn"), (200, "fail"), (10_000, "fail")]
)
def test_gradients(blind, status):
    """A share of 1,000 examples * 10 gradients each; 2% of them is 200."""
    results = [result("white-box", fell(0.5), gradients=10, blind=blind)]
    assert statuses(results)["gradients"] == status


def test_gradients_that_were_never_taken_are_none_lost():
    assert statuses([result("white-box", fell(1.0), gradients=0)])["gradients"] == "pass"


@pytest.mark.parametrize(("one", "many", "status"), [(0.5, 0.6, "pass"), (0.5, 0.5, "pass"), (0.501, 0.5, "fail")])
def test_one_step_against_many(one, many, status):
    results = [result("white-box", fell(one), gradients=1), result("white-box", fell(many), gradients=20)]
    assert statuses(results)[STEPS] == status


@pytest.mark.parametrize(
    ("black", "status"), [(0.5, "pass"), (0.509, "pass"), (0.511, "warn"), (0.519, "warn"), (0.521, "fail")]
)
def test_black_box_against_white_box(black, status):
    """Shares of the examples that only the black box brought down, of 1% and 2%."""
    results = [result("white-box", fell(0.5), gradients=20), result("score", fell(black))]
    assert statuses(results)[BLACK] == status


def test_black_box_is_compared_example_by_example():
    """The same accuracy, on other examples, is no agreement."""
    results = [result("white-box", fell(0.5), gradients=20), result("score", fell(0.5, first=500))]
    assert statuses(results)[BLACK] == "fail"
    # What another white-box attack brings down counts for the white box.
    results.append(result("white-box", fell(0.5, first=500), gradients=20))
    assert statuses(results)[BLACK] == "pass"


def test_checks_without_their_data_are_not_made():
    assert statuses([result("white-box", fell(0.5), gradients=1)]).keys() == {"scores", "gradients"}
    assert statuses([result("score", fell(0.5)), result("transfer", fell(0.2), gradients=9)]).keys() == {"scores"}


# On real models: the same linear classifier, as it is, and with its gradients masked in ways that keep every answer.


def wrapped(kind):
    random = np.random.default_rng(0)
    inputs = keras.Input(SHAPE)
    x = inputs
    if kind == "rounded":
        x = keras.ops.stop_gradient(keras.ops.round(8 * x) / 8) + 0.0 * x
    if kind == "cut off":
        x = keras.ops.stop_gradient(keras.ops.round(8 * x) / 8)
    dense = layers.Dense(3)
    logits = dense(layers.Flatten()(x))
    if kind == "saturated":
        logits = 1e4 * logits
    model = keras.Model(inputs, logits)
    dense.set_weights([random.normal(size=(16, 3)).astype(np.float32), np.zeros(3, np.float32)])
    return model


def evaluated(model, attacks=None, epsilon=0.05):
    x = np.random.default_rng(1).random((100, *SHAPE), np.float32)
    threat = th.Linf(epsilon)
    y = wrapped("plain").predict(x, verbose=0).argmax(axis=-1)
    attacks = attacks or [FGSM(threat), PGD(threat, steps=10), Square(threat, queries=200)]
    content = th.evaluate([model], (x, y), threat, attacks).content["models"][0]
    return {check["name"]: check["status"] for check in content["checks"]}, content


def test_honest_model_passes():
    found, content = evaluated(wrapped("plain"))
    assert found == {"scores": "pass", "gradients": "pass", STEPS: "pass", BLACK: "pass"}
    assert 0.1 < content["worst_case"]["robust_accuracy"] < 0.9


def test_saturated_logits_are_found_out():
    found, content = evaluated(wrapped("saturated"))
    assert found["gradients"] == "fail"
    assert found[BLACK] == "fail"
    # The same attack on the margin sees through it.
    honest = evaluated(wrapped("plain"))[1]["attacks"][1]["robust_accuracy"]
    assert content["attacks"][1]["robust_accuracy"] > honest + 0.1
    threat = th.Linf(0.05)
    margin = PGD(threat, steps=10, loss=th.losses.margin)
    found, content = evaluated(wrapped("saturated"), [margin, Square(threat, queries=200)])
    assert found["gradients"] == found[BLACK] == "pass"
    assert content["attacks"][0]["robust_accuracy"] == pytest.approx(honest, abs=0.02)


def test_rounded_inputs_are_found_out():
    """A staircase has no slope; the black box doesn't need one."""
    found, content = evaluated(wrapped("rounded"), epsilon=0.1)
    assert found["gradients"] == found[BLACK] == "fail"
    white, black = content["attacks"][1], content["attacks"][2]
    assert white["robust_accuracy"] > black["robust_accuracy"] + 0.1


def test_model_that_cuts_the_gradient_off_is_refused():
    with pytest.raises(InputError, match=r"no gradient.*square") as error:
        evaluated(wrapped("cut off"))
    assert "\n" not in str(error.value)


def test_hidden_softmax_warns():
    inputs = keras.Input(SHAPE)
    scores = keras.ops.exp(wrapped("plain")(inputs))
    model = keras.Model(inputs, scores / keras.ops.sum(scores, axis=-1, keepdims=True))
    assert evaluated(model)[0]["scores"] == "warn"
