import numpy as np
import pytest
import tensorflow as tf

from tfharden.distillation.losses import RelationalAngle, RelationalDistance

BATCH = 7
BOTH = pytest.mark.parametrize("loss", [RelationalDistance(), RelationalAngle()], ids=["distance", "angle"])


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0].astype(np.float32)


def huber(x):
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def distance(f, i, j):
    return sum((float(a) - float(b)) ** 2 for a, b in zip(f[i].ravel(), f[j].ravel(), strict=True)) ** 0.5


def mean_distance(f):
    return np.mean([distance(f, i, j) for i in range(len(f)) for j in range(len(f)) if i != j])


def cosine(f, i, j, k):
    one, other = ((f[n] - f[j]).astype(np.float64).ravel() for n in (i, k))
    lengths = float((one @ one) ** 0.5 * (other @ other) ** 0.5)
    return float(one @ other) / lengths if lengths else 0.0


def expected_distance(teacher, student):
    scales = mean_distance(teacher), mean_distance(student)
    values = []
    for i in range(len(teacher)):
        partners = [j for j in range(len(teacher)) if j != i]
        errors = [distance(teacher, i, j) / scales[0] - distance(student, i, j) / scales[1] for j in partners]
        values.append(sum(map(huber, errors)) / len(partners))
    return values


def expected_angle(teacher, student):
    values = []
    for j in range(len(teacher)):
        others = [n for n in range(len(teacher)) if n != j]
        pairs = [(i, k) for i in others for k in others if i != k]
        values.append(np.mean([huber(cosine(teacher, i, j, k) - cosine(student, i, j, k)) for i, k in pairs]))
    return values


def gradients(loss, teacher, student):
    teacher, student = tf.constant(teacher), tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = loss.compute_loss(teacher, student)
    return tape.gradient(value, [teacher, student])


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((6,), (3,)), ((3, 2, 2), (4, 4, 1))])
@pytest.mark.parametrize(
    ("make", "expected"), [(RelationalDistance, expected_distance), (RelationalAngle, expected_angle)]
)
def test_formula(make, expected, shapes):
    teacher, student = features(0, BATCH, *shapes[0]), features(1, BATCH, *shapes[1])
    wanted = expected(teacher, student)
    np.testing.assert_allclose(make().per_example(teacher, student), wanted, rtol=1e-4)
    assert float(make(weight=25.0).compute_loss(teacher, student)) == pytest.approx(25 * np.mean(wanted), rel=1e-4)


def test_distance_beyond_one_is_linear():
    """Distances 0, 1, 1 against 6, 3, 3, so psi = (0, 3/2, 3/2) and (3/2, 3/4, 3/4): one is off by more than 1."""
    teacher, student = np.float32([[0], [0], [1]]), np.float32([[0], [6], [3]])
    far, near = 1.5 - 0.5, 0.75**2 / 2
    given = RelationalDistance().per_example(teacher, student)
    np.testing.assert_allclose(given, [(far + near) / 2, (far + near) / 2, near], rtol=1e-5)


@BOTH
def test_means_are_the_papers_sums_over_their_counts(loss):
    """The mean over the batch is the mean over ordered pairs, or over triples of different examples."""
    teacher, student = features(0, BATCH, 4), features(1, BATCH, 3)
    if isinstance(loss, RelationalDistance):
        scales = mean_distance(teacher), mean_distance(student)
        terms = [
            huber(distance(teacher, i, j) / scales[0] - distance(student, i, j) / scales[1])
            for i in range(BATCH)
            for j in range(BATCH)
        ]
        count = BATCH * (BATCH - 1)
    else:
        terms = [
            huber(cosine(teacher, i, j, k) - cosine(student, i, j, k))
            for i in range(BATCH)
            for j in range(BATCH)
            for k in range(BATCH)
            if len({i, j, k}) == 3
        ]
        count = BATCH * (BATCH - 1) * (BATCH - 2)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(sum(terms) / count, rel=1e-4)


@BOTH
def test_invariances(loss):
    """Neither scale, shift nor rotation of either side changes a relation; a stretch along one axis does."""
    teacher, student = features(0, BATCH, 4), features(1, BATCH, 4)
    value = loss.per_example(teacher, student).numpy()
    for same in (0.01 * student, 1000 * student, student + 5, student @ rotation(4)):
        np.testing.assert_allclose(loss.per_example(teacher, same), value, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(loss.per_example(teacher, 3 * teacher @ rotation(4) - 1), np.zeros(BATCH), atol=1e-6)
    assert loss.per_example(teacher, teacher * np.float32([5, 1, 1, 1])).numpy().min() > 1e-3


@BOTH
def test_coinciding_points_have_finite_gradients(loss):
    points = features(0, BATCH, 4)
    twins, apart = points.copy(), features(1, BATCH, 4)
    twins[1] = twins[0]
    for teacher, student in ((apart, twins), (twins, apart), (apart, np.ones_like(points)), (twins, twins)):
        assert np.isfinite(loss.per_example(teacher, student)).all()
        assert np.isfinite(gradients(loss, teacher, student)[1]).all()
    assert np.abs(gradients(loss, apart, twins)[1]).max() > 1e-3
    expected = expected_distance if isinstance(loss, RelationalDistance) else expected_angle
    np.testing.assert_allclose(loss.per_example(apart, twins), expected(apart, twins), rtol=1e-4)


@BOTH
@pytest.mark.parametrize("batch", [1, 2])
def test_small_batches(loss, batch):
    """No pairs or triples: nothing to learn, and no NaN. Two distances are equal once they are relative."""
    teacher, student = features(0, batch, 4), features(1, batch, 4)
    np.testing.assert_allclose(loss.per_example(teacher, student), np.zeros(batch), atol=1e-6)
    np.testing.assert_allclose(gradients(loss, teacher, student)[1], np.zeros((batch, 4)), atol=1e-6)


@BOTH
def test_teacher_is_not_differentiated(loss):
    for_teacher, for_student = gradients(loss, features(0, BATCH, 4), features(1, BATCH, 4))
    assert for_teacher is None
    assert np.abs(for_student).max() > 1e-3
