"""Adversarial images by other libraries' attacks, each behind one function of the same form.

Images go in and come out as float32 NHWC arrays in [0, 1], whatever the library works on. Attacks of PyTorch libraries
take a module that receives NCHW (`torch_twin`), those of TensorFlow libraries a Keras model; both end in logits.
"""

import logging
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
import torch

from benchmarks.attacks.torch_twin import to_nchw, to_nhwc

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
MEMBERS = (*STANDARD, "apgd-dlr", "fab")


def seed_all(seed: int) -> None:
    """Fixes the generators that the libraries draw from, none of which takes a seed in every attack."""
    np.random.seed(seed)  # noqa: NPY002 - ART draws from it
    torch.manual_seed(seed)
    tf.random.set_seed(seed)


# The original AutoAttack, https://github.com/fra31/auto-attack


def autoattack(
    model: torch.nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    epsilon: float,
    *,
    members: Sequence[str] = STANDARD,
    seconds: dict[str, float] | None = None,
    robust: dict[str, float] | None = None,
    norm: str = "Linf",
    batch_size: int = 250,
    seed: int = 0,
) -> np.ndarray:
    """AutoAttack's members one after another on what is left, with the standard version's settings, whichever run.

    `seconds` and `robust`, if given, get each member's wall time and the robust accuracy after it.
    """
    from autoattack import AutoAttack  # noqa: PLC0415 - optional, and not on PyPI

    attack = AutoAttack(model, norm=norm, eps=epsilon, seed=seed, version="standard", device="cpu", verbose=False)
    images, labels = to_nchw(x), torch.from_numpy(np.asarray(y, np.int64))
    left = torch.arange(len(x))
    with torch.no_grad():
        left = left[torch.cat([model(part) for part in images.split(batch_size)]).argmax(1) == labels]
    adversarial = images.clone()
    # A member a call, on the survivors: what the attack does itself, but timed.
    for member in members:
        began = time.perf_counter()
        if len(left):
            attack.attacks_to_run = [member]
            found, answers = attack.run_standard_evaluation(
                images[left], labels[left], bs=batch_size, return_labels=True
            )
            adversarial[left] = found
            left = left[answers == labels[left]]
        if seconds is not None:
            seconds[member] = time.perf_counter() - began
        if robust is not None:
            robust[member] = len(left) / len(x)
    return to_nhwc(adversarial)


# torchattacks


def _torchattacks(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, name: str, batch_size: int, **settings: float | str | bool
) -> np.ndarray:
    """An attack of torchattacks by its class name, batch by batch."""
    import torchattacks  # noqa: PLC0415 - optional

    attack = getattr(torchattacks, name)(model, **settings)
    pairs = zip(to_nchw(x).split(batch_size), torch.from_numpy(np.asarray(y, np.int64)).split(batch_size), strict=True)
    return to_nhwc(torch.cat([attack(images, labels) for images, labels in pairs]))


def torchattacks_pgd(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 40, step_size: float = 0.02, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """PGD of torchattacks: a random start, the last iterate."""
    seed_all(seed)
    return _torchattacks(model, x, y, "PGD", batch_size, eps=epsilon, alpha=step_size, steps=steps)


def torchattacks_apgd(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 100, loss: str = "ce", batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Untargeted Auto-PGD of torchattacks, up the cross entropy ("ce") or the difference of logits ratio ("dlr")."""
    return _torchattacks(model, x, y, "APGD", batch_size, eps=epsilon, steps=steps, loss=loss, seed=seed)


def torchattacks_apgdt(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 100, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Auto-PGD of torchattacks towards each of the other classes."""
    return _torchattacks(model, x, y, "APGDT", batch_size, eps=epsilon, steps=steps, seed=seed)


def torchattacks_fab(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 100, targeted: bool = False, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """FAB of torchattacks, untargeted or towards each other class; it minimises, so successes may lie outside."""
    settings = {"eps": epsilon, "steps": steps, "multi_targeted": targeted, "seed": seed}
    return _torchattacks(model, x, y, "FAB", batch_size, **settings)


def torchattacks_square(
    model: torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 5000, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Square of torchattacks with AutoAttack's settings; `steps` are queries."""
    settings = {"eps": epsilon, "n_queries": steps, "resc_schedule": False, "seed": seed}
    return _torchattacks(model, x, y, "Square", batch_size, **settings)


# Foolbox


def _foolbox(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, attack: object, batch_size: int
) -> np.ndarray:
    """A Foolbox attack, batch by batch, on whichever framework the model is of; the examples clipped to the ball."""
    import foolbox  # noqa: PLC0415 - optional

    logging.getLogger("root").setLevel(logging.ERROR)
    if isinstance(model, torch.nn.Module):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        images, labels = to_nchw(x), torch.from_numpy(np.asarray(y, np.int64))
    else:
        wrapped = foolbox.TensorFlowModel(model, bounds=(0, 1), device="/CPU:0")
        images, labels = tf.constant(x), tf.constant(np.asarray(y, np.int64))
    found = []
    for first in range(0, len(x), batch_size):
        part = slice(first, first + batch_size)
        _, clipped, _ = attack(wrapped, images[part], labels[part], epsilons=epsilon)
        found.append(to_nhwc(clipped) if isinstance(clipped, torch.Tensor) else clipped.numpy())
    return np.concatenate(found)


def foolbox_pgd(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 40, step_size: float = 0.02, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Foolbox's Linf PGD: a random start, the last iterate."""
    from foolbox.attacks import LinfPGD  # noqa: PLC0415 - optional

    seed_all(seed)
    return _foolbox(model, x, y, epsilon, LinfPGD(abs_stepsize=step_size, steps=steps), batch_size)


def foolbox_deepfool(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 50, norm: str = "Linf", batch_size: int = 250,
) -> np.ndarray:  # fmt: skip
    """Foolbox's DeepFool over all ten classes, in Linf or L2; the perturbation it finds, clipped to the ball."""
    from foolbox import attacks  # noqa: PLC0415 - optional

    attack = {"Linf": attacks.LinfDeepFoolAttack, "L2": attacks.L2DeepFoolAttack}[norm]
    return _foolbox(model, x, y, epsilon, attack(steps=steps), batch_size)


def foolbox_cw(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 200, searches: int = 5, step_size: float = 0.05, batch_size: int = 250,
) -> np.ndarray:  # fmt: skip
    """Foolbox's Carlini and Wagner in L2: `searches` constants, `steps` of Adam each; clipped to the L2 ball."""
    from foolbox.attacks import L2CarliniWagnerAttack  # noqa: PLC0415 - optional

    attack = L2CarliniWagnerAttack(
        binary_search_steps=searches, steps=steps, stepsize=step_size, initial_const=1.0
    )  # fmt: skip
    return _foolbox(model, x, y, epsilon, attack, batch_size)


def foolbox_hop_skip_jump(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 6, norm: str = "L2", batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Foolbox's HopSkipJump; 6 steps are 1,150 queries or more, 17 are 4,700. Clipped to the ball."""
    from foolbox.attacks import HopSkipJumpAttack  # noqa: PLC0415 - optional

    seed_all(seed)
    return _foolbox(model, x, y, epsilon, HopSkipJumpAttack(steps=steps, constraint=norm.lower()), batch_size)


# Adversarial Robustness Toolbox


def _art(model: keras.Model | torch.nn.Module, shape: tuple[int, ...], classes: int) -> object:
    """The model as ART takes it, and its images NHWC or NCHW."""
    if isinstance(model, torch.nn.Module):
        from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415 - optional

        loss = torch.nn.CrossEntropyLoss()
        channels_first = (shape[2], *shape[:2])
        return PyTorchClassifier(model, loss, channels_first, classes, clip_values=(0, 1), device_type="cpu")
    from art.estimators.classification import TensorFlowV2Classifier  # noqa: PLC0415 - optional

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorFlowV2Classifier(model, classes, shape, loss_object=loss, clip_values=(0, 1))


def art_pgd(
    model: keras.Model | torch.nn.Module, x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 40, step_size: float = 0.02, batch_size: int = 250, seed: int = 0, classes: int = 10,
) -> np.ndarray:  # fmt: skip
    """ART's Linf PGD: a random start, the last iterate."""
    from art.attacks.evasion import ProjectedGradientDescent  # noqa: PLC0415 - optional

    seed_all(seed)
    attack = ProjectedGradientDescent(
        _art(model, x.shape[1:], classes), np.inf, epsilon, step_size, max_iter=steps, num_random_init=1,
        batch_size=batch_size, verbose=False,
    )  # fmt: skip
    labels = np.eye(classes, dtype=np.float32)[y]
    if isinstance(model, torch.nn.Module):
        return to_nhwc(torch.from_numpy(attack.generate(to_nchw(x).numpy(), labels)))
    return attack.generate(x, labels)


# CleverHans


def cleverhans_pgd(
    model: Callable[[tf.Tensor], tf.Tensor], x: np.ndarray, y: np.ndarray, epsilon: float, *,
    steps: int = 40, step_size: float = 0.02, batch_size: int = 250, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """CleverHans' Linf PGD in TensorFlow: a random start, the last iterate."""
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent  # noqa: PLC0415 - optional

    seed_all(seed)
    found = []
    for first in range(0, len(x), batch_size):
        images, labels = tf.constant(x[first : first + batch_size]), tf.constant(y[first : first + batch_size])
        settings = {"clip_min": 0.0, "clip_max": 1.0, "y": labels, "rand_init": True}
        found.append(projected_gradient_descent(model, images, epsilon, step_size, steps, np.inf, **settings).numpy())
    return np.concatenate(found)


# Judging


def verdict(
    model: keras.Model, x: np.ndarray, adversarial: np.ndarray, y: np.ndarray, epsilon: float, norm: str = "Linf"
) -> tuple[float, float]:
    """Robust accuracy, where what lies outside ball or box is no success, and the largest perturbation."""
    difference = (adversarial.astype(np.float64) - x).reshape(len(x), -1)
    length = np.abs(difference).max(1) if norm == "Linf" else np.sqrt((difference**2).sum(1))
    valid = (length <= epsilon + 1e-5) & np.isfinite(length)
    valid &= (np.abs(adversarial - 0.5) <= 0.5 + 1e-6).reshape(len(x), -1).all(1)
    clean = model.predict(x, batch_size=1000, verbose=0).argmax(1) == y
    right = model.predict(np.nan_to_num(adversarial), batch_size=1000, verbose=0).argmax(1) == y
    return float((clean & (right | ~valid)).mean()), float(np.nanmax(length))
