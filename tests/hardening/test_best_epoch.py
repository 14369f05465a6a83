import json
import zipfile

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.robust_examples import SHAPE, examples, linear, one_line, robust
from tfharden.attacks import FGSM
from tfharden.errors import InputError
from tfharden.hardening.callbacks.best_epoch import BestEpoch

X, Y = examples(32)
SETTINGS = {"batch_size": 16, "shuffle": False, "verbose": 0, "validation_data": (X, Y)}


class Script(keras.callbacks.Callback):
    """Plays a training whose robust accuracy goes as `values` say; notes the weights that validation sees."""

    def __init__(self, *values, killed_in=None):
        super().__init__()
        self.values, self.killed_in, self.seen = values, killed_in, {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if epoch == self.killed_in:
            raise KeyboardInterrupt

    def on_test_batch_end(self, batch, logs=None):
        self.seen[self.epoch] = self.model.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        logs["val_robust_accuracy"] = self.values[epoch]


def trainer(seed=0, **optimizer):
    attack = FGSM(th.Linf(0.1))
    made = robust(linear(seed=seed), attack, settings={"evaluation_attack": attack})
    made.compile(keras.optimizers.SGD(0.5, **optimizer), run_eagerly=True)
    return made


def assert_bit_identical(given, expected):
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_puts_back_the_best_epoch():
    model, script, best = trainer(), Script(0.1, 0.6, 0.4, 0.6, 0.2), BestEpoch()
    model.fit(X, Y, epochs=5, callbacks=[script, best], **SETTINGS)
    assert (best.epoch, best.value) == (1, 0.6)  # the earlier of two that are equally good
    assert_bit_identical(model.model.get_weights(), script.seen[1])
    assert np.any(script.seen[1][0] != script.seen[4][0])


def test_best_is_what_evaluation_says():
    model, best = trainer(), BestEpoch()

    def spoil(epoch, logs=None):
        if epoch >= 2:
            model.model.set_weights([-weight for weight in model.model.get_weights()])

    callbacks = [best, keras.callbacks.LambdaCallback(on_epoch_begin=spoil)]
    history = model.fit(X, Y, epochs=4, callbacks=callbacks, **SETTINGS).history["val_robust_accuracy"]
    assert best.value == max(history) == history[best.epoch]
    assert best.epoch < 2
    assert model.evaluate(X, Y, return_dict=True, verbose=0)["robust_accuracy"] == pytest.approx(best.value)


@pytest.mark.parametrize("swap", [None, "before", "after", "on_epoch"])
def test_averaged_weights_are_kept_as_they_were_validated(swap):
    model, script, best = trainer(use_ema=True, ema_momentum=0.8), Script(0.1, 0.6, 0.4), BestEpoch()
    callbacks = [script, best]
    if swap is not None:
        averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap == "on_epoch")
        callbacks = [*callbacks, averages] if swap == "after" else [averages, *callbacks]
    raw = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: raw.append(model.model.get_weights()))
    model.fit(X, Y, epochs=3, callbacks=[*callbacks, note], **SETTINGS)
    assert_bit_identical(model.model.get_weights(), script.seen[1])
    if swap is None:
        assert_bit_identical(script.seen[1], raw[3])
    else:
        assert np.any(script.seen[1][0] != raw[3][0])


def test_value_of_the_epochs_end():
    model, best, ends = trainer(), BestEpoch(monitor="robust_accuracy"), []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(model.model.get_weights()))
    history = model.fit(X, Y, epochs=3, callbacks=[best, note], batch_size=16, verbose=0).history["robust_accuracy"]
    assert best.epoch == int(np.argmax(history))
    assert_bit_identical(model.model.get_weights(), ends[best.epoch])


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.9, 0.3])
@pytest.mark.parametrize("backup_first", [True, False])
def test_resumed_training_goes_on_comparing(tmp_path, value, backup_first):
    """As if it had not been killed, whether the best epoch came before or comes after."""
    values = (0.1, 0.6, 0.4, value, 0.2)

    def run(killed_in=None):
        model, best = trainer(), BestEpoch(tmp_path / "best.keras")
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        script = Script(*values, killed_in=killed_in)
        callbacks = [script, backup, best] if backup_first else [best, backup]
        model.fit(X, Y, epochs=5, callbacks=callbacks if backup_first else [script, *callbacks], **SETTINGS)
        return model, best

    with pytest.raises(KeyboardInterrupt):
        run(killed_in=3)
    model, best = run()
    whole, script = trainer(), Script(*values)
    whole.fit(X, Y, epochs=5, callbacks=[script, BestEpoch()], **SETTINGS)
    assert (best.epoch, best.value) == ((3, 0.9) if value == 0.9 else (1, 0.6))
    assert_bit_identical(model.model.get_weights(), whole.model.get_weights())
    assert_bit_identical(whole.model.get_weights(), script.seen[best.epoch])
    # The training itself went on from where it was, not from the best epoch.
    kept = keras.saving.load_model(tmp_path / "best.keras")
    assert type(kept) is keras.Sequential
    assert_bit_identical(kept.get_weights(), model.model.get_weights())
    assert json.loads(zipfile.ZipFile(tmp_path / "best.keras").read("best_epoch.json")) == {
        "epoch": best.epoch,
        "value": best.value,
    }
    assert [path.name for path in tmp_path.glob("*.keras")] == ["best.keras"]
    assert not list(tmp_path.glob(".best*"))


def test_resuming_leaves_training_where_it_was(tmp_path):
    path, begun = tmp_path / "best.keras", []
    model = trainer()
    model.fit(X, Y, epochs=2, callbacks=[Script(0.6, 0.1), BestEpoch(path)], **SETTINGS)
    other = trainer(seed=1)
    expected = other.model.get_weights()
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: begun.append(other.model.get_weights())
    )
    other.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[Script(0, 0, 0.2), BestEpoch(path), note], **SETTINGS)
    assert_bit_identical(begun[0], expected)
    assert_bit_identical(other.model.get_weights(), model.model.get_weights())


def test_resumed_when_no_epoch_is_left(tmp_path):
    path = tmp_path / "best.keras"
    model, again, best = trainer(), trainer(seed=1), BestEpoch(path)
    model.fit(X, Y, epochs=2, callbacks=[Script(0.6, 0.1), BestEpoch(path)], **SETTINGS)
    again.fit(X, Y, epochs=2, initial_epoch=2, callbacks=[best], **SETTINGS)
    assert (best.epoch, best.value) == (0, 0.6)
    assert_bit_identical(again.model.get_weights(), model.model.get_weights())


def test_another_training_starts_anew(tmp_path):
    path = tmp_path / "best.keras"
    best = BestEpoch(path)
    trainer().fit(X, Y, epochs=1, callbacks=[Script(0.9), best], **SETTINGS)
    for again in (best, BestEpoch(path)):
        model, script = trainer(seed=1), Script(0.1, 0.3)
        model.fit(X, Y, epochs=2, callbacks=[script, again], **SETTINGS)
        assert (again.epoch, again.value) == (1, 0.3)
        assert_bit_identical(model.model.get_weights(), script.seen[1])
        assert_bit_identical(keras.saving.load_model(path).get_weights(), script.seen[1])


def test_without_validation():
    with pytest.raises(InputError, match=r"val_robust_accuracy is not in the logs of epoch 1 \(.*validation_data") as e:
        trainer().fit(X, Y, epochs=2, callbacks=[BestEpoch()], verbose=0)
    assert one_line(e)


def test_refuses(tmp_path):
    with pytest.raises(InputError, match=r"as a \.keras file"):
        BestEpoch(tmp_path / "best.weights.h5")
    with pytest.raises(InputError, match="can't write"):
        BestEpoch("/proc/best.keras")
    with pytest.raises(InputError, match="can't be a loss"):
        BestEpoch(monitor="val_loss")
    path = tmp_path / "best.keras"
    other = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(5)])
    other.save(path)
    for _ in range(2):
        with pytest.raises(InputError, match="can't be resumed from it") as error:
            trainer().fit(X, Y, epochs=3, initial_epoch=2, callbacks=[BestEpoch(path)], **SETTINGS)
        assert one_line(error)
        path.write_bytes(b"no archive")
