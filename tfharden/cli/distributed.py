"""Replicas that train together, on one machine or on several: --strategy."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

import tfharden as th
from tfharden.cli.config import MULTIWORKER, NO_STRATEGY, TrainingConfig

EXAMPLE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'


def is_chief(config: TrainingConfig) -> bool:
    """Whether this process writes the outputs: the chief if there is one, or else the first worker.

    Raises:
        InputError: TF_CONFIG is not what --strategy=multiworker needs.
    """
    if config.strategy != MULTIWORKER:
        return True
    cluster = _tf_config()
    kind, index = cluster["task"]["type"], cluster["task"]["index"]
    return kind == "chief" or ("chief" not in cluster["cluster"] and index == 0)


@contextlib.contextmanager
def scope(config: TrainingConfig) -> Iterator[None]:
    """The scope of --strategy; a worker that isn't the chief is silent in it, but for exceptions that leave it.

    It has to be entered before anything is computed: TensorFlow refuses to find other workers later.

    Raises:
        InputError: TF_CONFIG is not what --strategy=multiworker needs, a --batch_size that replicas can't share evenly.
    """
    with contextlib.ExitStack() as stack:
        if config.strategy != NO_STRATEGY:
            if not is_chief(config):
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            several = config.strategy == MULTIWORKER
            strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.MirroredStrategy()
            replicas = strategy.num_replicas_in_sync
            if config.batch_size % replicas:
                raise th.InputError(f"--batch_size={config.batch_size} has to be a multiple of the {replicas} replicas")
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
            members = cluster.get(kind)
            if isinstance(members, list) and 0 <= index < len(members):
                return config
            raise th.InputError(f"TF_CONFIG's task, {kind} {index}, is none of its cluster: {json.dumps(cluster)}")
    raise th.InputError(
        f"TF_CONFIG lacks a cluster of workers or a task of type worker or chief: it looks like {EXAMPLE}"
    )
