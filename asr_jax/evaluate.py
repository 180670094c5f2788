"""Evaluation over a data set: means over images, each with its standard error."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import metrics, parallel, processes
from asr_jax.constraints.base import Constraint, statistics
from asr_jax.distributions import CountChain
from asr_jax.model import Model, Params
from asr_jax.objective import APART, elbo_terms, iwae


def evaluate(
    params: Params,
    key: jax.Array,
    image: np.ndarray,
    count: np.ndarray | None = None,
    box: np.ndarray | None = None,
    *,
    model: Model,
    constraints: tuple[Constraint, ...] = (),
    iwae_samples: int = 0,
    batch_size: int = 250,
) -> dict[str, np.ndarray]:
    """The metrics of every image of a data set.

    The nELBO and the constraints come from one posterior sample, whose noise depends on the key
    and the image's place in the data set only; SE, ACC and mIoU from the posterior's mode. The
    nELBO is exact in n, whichever estimator a model was trained with.

    Args:
      params: of the model.
      key: one random key.
      image: [N, H, W] uint8.
      count: [N] true counts, or None: neither accuracy nor mean IoU then.
      box: [N, M, 4] true boxes in pixels, or None: no mean IoU then.
      model: static, as the next.
      constraints: evaluated, not weighted.
      iwae_samples: samples of the importance weighted bound of log p(x); 0: without it.
      batch_size: images at a time, rounded up to a multiple of this process's devices; memory is
        constant in N, and results do not depend on it.

    Returns:
      name -> [N]: nelbo, se, acc, miou, iwae, count, the ELBO's terms and every constraint, those
      on the mean as one scalar for the whole data set; and count_probs [N, K+1], q(n | x).
    """
    exact = Model(dataclasses.replace(model.config, estimator="marginal"))
    values = map_batches(
        functools.partial(
            _evaluate,
            params,
            key,
            model=exact,
            constraints=constraints,
            iwae_samples=iwae_samples,
        ),
        len(image),
        batch_size,
        image,
        count,
        box,
    )
    for constraint in constraints:
        if constraint.of_mean is not None:
            values[constraint.name] = np.asarray(
                constraint.of_mean(values[constraint.name].mean(0))
            )
    return values


def summarise(values: dict[str, np.ndarray]) -> dict[str, float]:
    """[N] or scalar arrays: name -> mean, and name_stderr -> its standard error over N images."""
    summary = {}
    for name, value in values.items():
        value = np.asarray(value, np.float64)
        summary[name] = float(value.mean())
        if value.ndim:
            summary[f"{name}_stderr"] = float(value.std(ddof=1) / np.sqrt(len(value)))
    return summary


def map_batches(
    function: Callable, total: int, batch_size: int, *arrays, divide: bool = True
) -> dict:
    """Calls function(index [b], *arrays [b, ...]) in chunks of one size, and joins its results.

    Chunks are divided over the devices, and all rows over the processes of the run, unless
    `divide` is False: then every process computes all of them. What is missing to full chunks is
    filled up with the last row, whose copies are dropped again. Arrays may be None and stay so.
    """
    shares = jax.process_count() if divide else 1
    share, devices = -(-total // shares), jax.local_device_count()
    batch_size = -(-min(batch_size, share) // devices) * devices
    first = share * jax.process_index() if divide else 0
    results = []
    for start in range(0, share, batch_size):
        index = np.minimum(np.arange(start, start + batch_size) + first, total - 1)
        rows = (index, *(None if a is None else np.asarray(a)[index] for a in arrays))
        result = function(*(None if row is None else parallel.spread(row) for row in rows))
        keep = min(batch_size, share - start)
        results.append(jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], result))
    result = jax.tree.map(lambda *x: np.concatenate(x), *results)
    if divide:
        result = jax.tree.map(lambda x: x[:total], processes.concatenate(result))
    return result


@functools.partial(jax.jit, static_argnames=("model", "constraints", "iwae_samples"))
def _evaluate(params, key, index, image, count, box, *, model: Model, constraints, iwae_samples):
    images = image.astype(jnp.float32) / 255
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    posterior = model.posterior(params, keys, images)
    terms = elbo_terms(params, posterior, images, model=model)
    mode = model.posterior(params, None, images)
    q_n = CountChain(mode.presence_logits)
    scene = model.scene(params, mode.latents, q_n.mode())
    values = {
        "nelbo": -terms.elbo,
        "se": metrics.squared_error(images, scene.canvas),
        "count": scene.count,
        "count_probs": jnp.exp(q_n.log_probs),
        "log_likelihood": terms.log_likelihood,
        "kl_count": terms.kl_count,
        "kl_shift": terms.kl_shift,
        "kl_scale": terms.kl_scale,
        "kl_appearance": terms.kl_appearance,
    } | statistics(constraints, posterior, model.config.canvas)
    if iwae_samples:
        apart = jax.vmap(jax.random.fold_in, (0, None))(keys, APART)
        values["iwae"] = iwae(params, apart, images, model=model, samples=iwae_samples)
    if count is not None:
        values["acc"] = metrics.count_accuracy(scene.count, count)
        if box is not None:
            values["miou"] = metrics.mean_iou(scene.boxes, scene.count, box, count)
    return values
