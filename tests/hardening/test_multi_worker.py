"""Training on several replicas and workers, in processes of their own."""

import json
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.robust_examples import (
    CLASSES,
    RATE,
    SHAPE,
    THREAT,
    assert_same_weights,
    examples,
    linear,
    one_line,
    recording,
    robust,
)
from tfharden.attacks import FGSM, PGD

pytestmark = pytest.mark.slow
SECONDS = 600

# What every kind of replicas runs, all of it in one process for each replica; `strategy` makes the model's variables.


def fitted(strategy, make, x, y, **settings):
    with strategy.scope():
        trainer = make()
    settings = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0} | settings
    history = trainer.fit(x, y, **settings).history
    return trainer, {"history": history, "weights": trainer.model.get_weights()}


def alone_at_work():
    """Whether there is one replica, whose few steps run eagerly; strategies run graphs."""
    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def trainer_of(*arguments, **settings):
    return robust(*arguments, run_eagerly=alone_at_work(), **settings)


def goodfellow():
    model = linear(kernel_regularizer=keras.regularizers.L2(0.1))
    settings = {"evaluation_attack": FGSM(THREAT)}  # no random starts, which would differ between replicas
    return trainer_of(model, FGSM(THREAT), th.objectives.Goodfellow(), settings=settings, metrics=["accuracy"])


def whole(strategy):
    """`fit`, `evaluate` and `predict`; then `fit` with batches that can't be shared evenly. The first worker saves."""
    x, y = examples(22)
    even, few = (x[:16], y[:16]), (x[:9], y[:9])
    trainer, done = fitted(strategy, goodfellow, *even, validation_data=even)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.cluster_resolver.task_id == 0:
        trainer.save("trainer.keras")
        trainer.model.save("model.keras")
    done["evaluated"] = trainer.evaluate(*few, batch_size=8, verbose=0, return_dict=True)
    done["predicted"] = trainer.predict(few[0], batch_size=8, verbose=0)
    logs = done["logs"] = []
    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values: logs.append(dict(values)))
    trainer.fit(x, y, batch_size=8, verbose=0, validation_data=few, callbacks=[tell])
    return done


def distilled(strategy):
    """With weights of the examples."""

    def make():
        teacher = linear(seed=1)
        norm = keras.layers.BatchNormalization(synchronized=True)
        student = keras.Sequential([keras.Input(SHAPE), norm, *linear().layers])
        distiller = th.Distiller(student, teacher, th.SoftTarget(), FGSM(THREAT), label_weight=0.5)
        distiller.compile(keras.optimizers.SGD(RATE), run_eagerly=alone_at_work())
        return distiller

    return fitted(strategy, make, *examples(16), sample_weight=np.linspace(0, 2, 16, dtype=np.float32))[1]


def perturbed_weights(strategy):
    settings = {"weight_perturbation": th.WeightPerturbation(0.1)}
    return fitted(strategy, lambda: trainer_of(linear(), FGSM(THREAT), settings=settings), *examples(16))[1]


def free(strategy):
    objective = th.objectives.Free(THREAT, replays=2, batch_size=8)
    return fitted(strategy, lambda: trainer_of(linear(), None, objective), *examples(16))[1]


def drawn(strategy):
    """Shuffled images, told apart by their brightness, and random starts; seeds differ between workers."""
    seen = []
    attack = PGD(THREAT, steps=1, step_size=1e-6)

    def make():
        trainer = trainer_of(linear(), attack, recording(seen))
        keras.utils.set_random_seed(os.getpid() % 1000)
        return trainer

    x = np.full((15, *SHAPE), np.linspace(0.3, 0.7, 15, dtype=np.float32).reshape(-1, 1, 1, 1))
    _, done = fitted(strategy, make, x, np.arange(15) % CLASSES, batch_size=6, shuffle=True)
    done["order"] = [np.round((clean[:, 0, 0, 0] - 0.3) / 0.4 * 14).astype(int) for clean, _ in seen]
    done["starts"] = [(adversarial - clean)[0] for clean, adversarial in seen]
    return done


def refused(strategy):
    with pytest.raises(th.InputError) as too_few:
        fitted(strategy, goodfellow, *examples(9))
    with pytest.raises(th.InputError) as several_steps, strategy.scope():
        robust(linear(), FGSM(THREAT), steps_per_execution=2)
    return one_line(too_few), one_line(several_steps)


MIRRORED = (whole, distilled, perturbed_weights, free, refused)
WORKERS = (whole, distilled, perturbed_weights, drawn, refused)


def run(strategy, runs, path):
    """In a process of its own: keeps what the runs tell."""
    pathlib.Path(path).write_bytes(pickle.dumps({run.__name__: run(strategy) for run in runs}))


# The processes.

ON_WORKERS = """
import sys
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else is computed
sys.path.insert(0, sys.argv[1])
from tests.hardening import test_multi_worker
assert strategy.num_replicas_in_sync == 2
test_multi_worker.run(strategy, test_multi_worker.WORKERS, sys.argv[2])
"""
ON_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
from tests.hardening import test_multi_worker
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
test_multi_worker.run(strategy, test_multi_worker.MIRRORED, sys.argv[2])
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def finished(folder, scripts):
    """Runs the scripts side by side, each with its environment; none outlives the others' failure or the limit."""
    here = pathlib.Path(__file__).parents[2]
    errors = [(folder / f"stderr_{index}").open("w+") for index in range(len(scripts))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, here, folder / f"{index}.pickle"],
            env=os.environ | environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=errors[index],
        )
        for index, (script, environment) in enumerate(scripts)
    ]
    limit = time.monotonic() + SECONDS
    try:
        while None in (codes := [process.poll() for process in processes]) and not any(codes):
            if time.monotonic() > limit:
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for error in errors:
        error.seek(0)
    assert codes == [0] * len(scripts), "\n".join(
        f"{code}: {e.read()[-3000:]}" for code, e in zip(codes, errors, strict=True)
    )
    return [pickle.loads((folder / f"{index}.pickle").read_bytes()) for index in range(len(scripts))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def workers(folder):
    """What two workers tell, each of them all of it."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return finished(folder, [(ON_WORKERS, {"TF_CONFIG": json.dumps(config)}) for config in configs])


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("mirrored"), [(ON_DEVICES, {})])[0]


@pytest.fixture(scope="module", params=["mirrored", "workers"])
def replicas(request):
    """What one replica of each strategy tells."""
    told = request.getfixturevalue(request.param)
    return told if request.param == "mirrored" else told[0]


@pytest.fixture(scope="module")
def alone():
    """What one process without replicas tells."""
    told = {}

    def tell(run):
        if run not in told:
            told[run] = run(tf.distribute.get_strategy())
        return told[run]

    return tell


def assert_same_history(given, expected):
    assert given.keys() == expected.keys()
    for key, values in expected.items():
        assert all(type(value) is float for value in given[key]), key
        np.testing.assert_allclose(given[key], values, rtol=1e-4, err_msg=key)


# What they tell.


def test_workers_agree_to_the_bit(workers):
    one, other = workers
    for name in one.keys() - {"refused"}:
        assert one[name]["history"] == other[name]["history"], name
        for a, b in zip(one[name]["weights"], other[name]["weights"], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    np.testing.assert_array_equal(one["whole"]["predicted"], other["whole"]["predicted"])
    assert one["whole"]["evaluated"] == other["whole"]["evaluated"]


@pytest.mark.parametrize("run", [whole, distilled])
def test_train_as_one(replicas, alone, run):
    given, expected = replicas[run.__name__], alone(run)
    assert_same_weights(given["weights"], expected["weights"], rtol=1e-4, atol=1e-5)
    assert_same_history(given["history"], expected["history"])


def test_history_has_all_metrics(replicas):
    names = {"loss", "accuracy", "robust_accuracy"}
    assert replicas["whole"]["history"].keys() == names | {f"val_{name}" for name in names}


def test_evaluate_and_predict_all_images(replicas, alone):
    """Also where the last replica gets none."""
    done, expected = replicas["whole"], alone(whole)
    assert done["evaluated"] == pytest.approx(expected["evaluated"], rel=1e-4)
    np.testing.assert_allclose(done["predicted"], expected["predicted"], rtol=1e-4, atol=1e-5)


def test_metrics_count_images_not_shares(replicas):
    """The last 6 of 22 images and 1 of 9 are shared as 3 and 3, 1 and 0."""
    (logs,) = replicas["whole"]["logs"]
    assert all(type(value) is float and np.isfinite(value) for value in logs.values())
    for key in ("accuracy", "robust_accuracy"):
        assert logs[key] * 22 == pytest.approx(round(logs[key] * 22), abs=1e-4)
        assert logs[f"val_{key}"] * 9 == pytest.approx(round(logs[f"val_{key}"] * 9), abs=1e-4)


def test_so_they_do_where_a_step_logs_some_only(workers):
    """15 images, 2 and 1 in the last batch."""
    history = workers[0]["drawn"]["history"]
    assert history.keys() == {"loss", "robust_accuracy"}
    for value in history["robust_accuracy"]:
        assert value * 15 == pytest.approx(round(value * 15), abs=1e-4)


def test_weight_perturbation_is_each_replicas_own(mirrored, workers):
    """It goes up the gradient of the replica's images, so that two replicas don't train as one, but always alike."""
    one, other = mirrored["perturbed_weights"], workers[0]["perturbed_weights"]
    assert_same_weights(one["weights"], other["weights"], rtol=1e-4, atol=1e-5)
    assert_same_history(one["history"], other["history"])


def test_free_training(mirrored):
    first, last = mirrored["free"]["history"]["loss"]
    assert last < first
    assert all(np.isfinite(weight).all() for weight in mirrored["free"]["weights"])


def test_workers_share_one_order(workers):
    """Every image once an epoch, on one of the workers, in batches of 6, 6 and 3."""
    one, other = (worker["drawn"]["order"] for worker in workers)
    assert [len(batch) for batch in one] == [3, 3, 2] * 2
    assert [len(batch) for batch in other] == [3, 3, 1] * 2
    for epoch in (slice(3), slice(3, 6)):
        order = np.concatenate([*one[epoch], *other[epoch]])
        assert sorted(order) == list(range(15))
        assert list(order) != sorted(order)


def test_random_starts_differ_between_workers_and_steps(workers):
    starts = [np.round(start, 4).tobytes() for worker in workers for start in worker["drawn"]["starts"]]
    assert len(set(starts)) == len(starts) == 12


def test_what_replicas_cannot_do(replicas):
    too_few, several_steps = replicas["refused"]
    assert too_few.startswith("9 images in batches of 8 make a batch of 1, which leaves some of the 2 replicas without")
    assert several_steps.startswith("steps_per_execution=2 is beyond Keras")


def test_saved_by_one_worker_alone(folder, workers):
    expected = workers[0]["whole"]["weights"]
    for name in ("model", "trainer"):
        loaded = keras.saving.load_model(folder / f"{name}.keras")
        assert_same_weights(getattr(loaded, "model", loaded).get_weights(), expected, rtol=0, atol=0)
