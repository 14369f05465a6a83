import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests._helpers.domains import CLASSES, NAN, images, model, teachers
from tfharden.distillation.teachers import LabelMap
from tfharden.errors import InputError


@pytest.mark.parametrize(("domain_from", "hint"), [("labels", r"domain_of\[y\]"), ("stream", "came from")])
def test_undetermined_domain(domain_from, hint):
    made, x = LabelMap(teachers(), CLASSES, domain_from), images()
    for ask in (made, made.domain_probabilities, lambda x: made.predict(x, verbose=0)):
        with pytest.raises(InputError, match=f"undetermined.*{hint}") as error:
            ask(x)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ([0, 1, 0, 1, 0, 2], "no domain 2: they are 0 to 1"),
        ([0, 1, 0, 1, 0, -1], "no domain -1"),
        ([0, 1], "2 domains for 6 images"),
        ([0.0] * 6, "one number an image"),
        ([[0, 1]] * 6, r"\(6, 2\): give one number"),
    ],
)
def test_wrong_domains(domains, message):
    with pytest.raises(InputError, match=message) as error:
        LabelMap(teachers(), CLASSES, "stream")(images(), domains=domains)
    assert "\n" not in str(error.value)


def test_confidence_takes_no_domains():
    with pytest.raises(InputError, match="leave `domains` out"):
        LabelMap(teachers(), CLASSES, "confidence")(images(), domains=np.zeros(6, int))


def test_unknown_domains_in_a_graph_are_nan():
    made = LabelMap(teachers(), CLASSES, "stream")
    z = tf.function(lambda x, domains: made(x, domains=domains))(images(), tf.constant([0, 1, 2, -1, 0, 1]))
    np.testing.assert_array_equal(np.isnan(z).all(axis=-1), [0, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(z.numpy()[:2], made(images(), [0, 1, 0, 0, 0, 0])[:2], rtol=1e-5)


def build(*, domain_from="labels", classes=(), replaced=None, **options):
    return LabelMap(teachers() | (replaced or {}), CLASSES | dict(classes), domain_from, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelMap({}, {}, "labels"), "needs teachers"),
        (lambda: LabelMap(list(teachers().values()), CLASSES, "labels"), "by domain"),
        (lambda: build(classes={"fruit": ["banana", "apple"]}), "'fruit'.* 3 classes"),
        (lambda: build(classes={"pets": "ab"}), "'pets'.* 2 classes"),
        (lambda: build(classes={"pets": [0, 1]}), "'pets'.* 2 classes"),
        (lambda: build(classes={"fruit": ["banana", "cat", "cherry"]}), "'cat' of 'fruit' is named in 'pets' too"),
        (lambda: build(classes={"fruit": ["banana", "kiwi", "kiwi"]}), "'kiwi' of 'fruit' is named twice"),
        (lambda: build(classes={"cars": ["bus", "van"]}), "no teacher for 'cars'"),
        (lambda: build(replaced={"cars": model(2)}), "no class names for 'cars'"),
        (lambda: build(preprocess={"cars": layers.ReLU()}), "no teacher for 'cars'"),
        (lambda: build(preprocess={"pets": lambda x: x}), "preprocess is a function"),
        (lambda: build(replaced={"pets": model(2, shape=(4, 4, 1))}), r"\(4, 4, 1\).*\(8, 8, 1\)|\(8, 8, 1\).*\(4"),
        (lambda: build(replaced={"pets": "teacher.keras"}), "str is no Keras model"),
        (lambda: build(domain_from="guess"), "domain_from='guess'"),
        (lambda: build(temperature=0.0), "temperature"),
        (lambda: build(temperature=NAN), "temperature"),
        (lambda: build(sharpness=0.0), "sharpness"),
        (lambda: build(sharpness=float("inf")), "sharpness"),
        (lambda: build(sharpness=NAN), "sharpness"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
