"""--strategy: the replicas that train together, on one machine or on several."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import flags

import tfharden as th

FLAGS = flags.FLAGS

NONE, MIRRORED, MULTIWORKER = "none", "mirrored", "multiworker"
EXAMPLE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'


def define_flags() -> None:
    """--strategy."""
    flags.DEFINE_enum(
        "strategy",
        NONE,
        [NONE, MIRRORED, MULTIWORKER],
        "What shares each batch: nothing, the GPUs of this machine (mirrored), or several workers that all run this "
        "command (multiworker); these find each other by the environment variable TF_CONFIG, and the first writes.",
    )


def is_chief() -> bool:
    """Whether this process writes the outputs: the chief if there is one, or else the first worker.

    Raises:
        InputError: TF_CONFIG is not what --strategy=multiworker needs.
    """
    if FLAGS.strategy != MULTIWORKER:
        return True
    config = _tf_config()
    kind, index = config["task"]["type"], config["task"]["index"]
    return kind == "chief" or ("chief" not in config["cluster"] and index == 0)


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """The scope of what --strategy says; who isn't the chief is silent in it, but for the exceptions that leave it.

    It has to be entered before anything is computed: TensorFlow refuses to find other workers later.

    Raises:
        InputError: TF_CONFIG is not what --strategy=multiworker needs, a --batch_size that replicas can't share evenly.
    """
    with contextlib.ExitStack() as stack:
        if FLAGS.strategy != NONE:
            if not is_chief():
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            several = FLAGS.strategy == MULTIWORKER
            strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.MirroredStrategy()
            replicas = strategy.num_replicas_in_sync
            if FLAGS.batch_size % replicas:
                raise th.InputError(f"--batch_size={FLAGS.batch_size} has to be a multiple of the {replicas} replicas")
            stack.enter_context(strategy.scope())
        yield


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise th.InputError(f"--strategy=multiworker needs TF_CONFIG in the environment, such as {EXAMPLE}")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise th.InputError(f"TF_CONFIG is no JSON ({error}): it looks like {EXAMPLE}") from None
    match config:
        case {"cluster": {**cluster}, "task": {"type": "chief" | "worker" as kind, "index": int(index)}}:
            if isinstance(cluster.get(kind), list) and 0 <= index < len(cluster[kind]):
                return config
            raise th.InputError(f"TF_CONFIG's task, {kind} {index}, is none of its cluster: {json.dumps(cluster)}")
    raise th.InputError(
        f"TF_CONFIG lacks a cluster of workers or a task of type worker or chief: it looks like {EXAMPLE}"
    )
