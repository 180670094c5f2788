"""Evaluation over a data set: means over images, each with its standard error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import inference, metrics, parallel, processes, random_keys, refinement, truth
from asr_jax.batches import checked
from asr_jax.bound import elbo_terms, exact
from asr_jax.constraints.base import Constraint, check_constraints, default_weights, statistics
from asr_jax.distributions import CountChain
from asr_jax.images import to_float
from asr_jax.importance import iwae
from asr_jax.model import Model, Params
from asr_jax.types import Posterior

REFINED = "_refined"  # after the name of a metric of the refined posterior


def evaluate(
    params: Params,
    key: jax.Array,
    images: np.ndarray,
    count: np.ndarray | None = None,
    box: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    iwae_samples: int = 0,
    refine: int = 0,
    refine_constraints: Sequence[Constraint] = (),
    batch_size: int = 250,
) -> dict[str, np.ndarray]:
    """The metrics of every image of a data set.

    The nELBO and the constraints come from one posterior sample, whose noise depends on the key
    and the image's place in the data set only; SE, ACC and mIoU from the posterior's mode. The
    nELBO is exact in n, whichever estimator a model was trained with.

    Args:
      params: of the model.
      key: one random key, or one an image.
      images: [N, H, W], or [N, H, W, 3] in colour: uint8, or floats in [0, 1].
      count: [N] true counts, or None: neither accuracy nor mean IoU then.
      box: [N, M, 4] true boxes (x0, y0, x1, y1) in pixels, or None: no mean IoU then.
      mask: [N, H, W] what is truly seen, 0 the background, t the object of the t-th box; or None.
      model: static, as the next.
      constraints: evaluated, not weighted.
      iwae_samples: samples of the importance weighted bound of log p(x); 0: without it.
      refine: steps of `Model.refine`, from the posterior's mode; 0: without it.
      refine_constraints: of its objective, with the weights that they carry.
      batch_size: images that a process has at a time, rounded up to a multiple of its devices;
        memory is constant in N, and results do not depend on it.

    Returns:
      name -> [N]: nelbo, se, acc, iwae, count, the ELBO's terms and every constraint, those
      on the mean as one scalar for the whole data set; and count_probs [N, K+1], q(n | x). Where n
      is inferred, count_elbo is the n that the ELBO itself would choose at the mode's latents,
      argmax_n log p(n) + log p(x | z^{1..n}) - sum_{t <= n} KL_t, and acc_elbo its accuracy: what
      the amortised q(n | x) makes of it is count, and acc. With boxes also miou, and centre [N, M],
      pixels from true centres to those of boxes (`metrics.centre_distance`). With `refine` also
      nelbo_refined, se_refined, miou_refined, centre_refined, and every constraint but those on the
      mean: the same of the refined posterior, its sample with the same noise. With masks also
      mask_miou, their mean IoU, and fg_ari, of those images alone that show two objects or more.

    Raises:
      ValueError: images, keys, counts or boxes that do not fit; constraints that are none. What
        fits and is probably not meant is a warning.
    """
    images = np.asarray(model.check(images))
    model.warn_of_background(images)
    count, box = truth.check(images, count, box, model.config, mask)
    true_objects = 0 if mask is None else int(np.max(mask))
    keys = random_keys.per_image(key, len(images))
    constraints = check_constraints(constraints)
    refine_constraints = check_constraints(refine_constraints)
    found = map_batches(
        functools.partial(
            _evaluate,
            params,
            default_weights(refine_constraints),
            model=exact(model),
            constraints=constraints,
            iwae_samples=iwae_samples,
            refine=refine,
            refine_constraints=refine_constraints,
            true_objects=true_objects,
        ),
        batch_size,
        np.asarray(jax.random.key_data(keys)),
        images,
        count,
        box,
        mask,
    )
    if mask is not None:
        ari, defined = found.pop("fg_ari"), found.pop("fg_ari_defined")
        found["fg_ari"] = ari[defined]
        if refine:
            found["fg_ari" + REFINED] = found["fg_ari" + REFINED][defined]
    for constraint in constraints:
        if constraint.of_mean is not None:
            found[constraint.name] = np.asarray(constraint.of_mean(found[constraint.name].mean(0)))
    return found


def summarise(values: dict[str, np.ndarray]) -> dict[str, float]:
    """[N] or scalar arrays: name -> mean, and name_stderr -> its standard error over N images.

    What has more axes, such as count_probs, is left out, and so is what no image has. One image has
    no standard error: NaN.
    """
    summary = {}
    for name, value in values.items():
        value = np.asarray(value, np.float64)
        if value.ndim > 1 or not value.size:
            continue
        summary[name] = float(value.mean())
        if value.ndim:
            spread = value.std(ddof=1) if len(value) > 1 else np.nan
            summary[f"{name}_stderr"] = float(spread / np.sqrt(len(value)))
    return summary


def map_batches(function: Callable, batch_size: int, *arrays, divide: bool = True) -> dict:
    """Calls function(*arrays [b, ...]) in chunks of one size, and joins its results.

    Chunks are divided over all devices, and so over the processes of the run, unless `divide` is
    False: then every process computes all of them, several of them on one device each. What is
    missing to full chunks is filled up with the last row, whose copies are dropped again. Arrays
    may be None and stay so.

    Raises:
      ValueError: a batch_size that is no whole number, or below 1.
    """
    checked(batch_size)
    total, everywhere = len(arrays[0]), divide or jax.process_count() == 1
    devices = jax.device_count() if everywhere else 1
    batch_size *= jax.process_count() if everywhere else 1
    batch_size = -(-min(batch_size, total) // devices) * devices
    place = parallel.spread if everywhere else np.asarray
    fetch = processes.whole if everywhere else jax.device_get
    results = []
    for start in range(0, total, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), total - 1)
        rows = (None if a is None else place(np.asarray(a)[index]) for a in arrays)
        result = fetch(function(*rows))
        keep = min(batch_size, total - start)
        results.append(jax.tree.map(lambda x, keep=keep: x[:keep], result))
    return jax.tree.map(lambda *x: np.concatenate(x), *results)


@functools.partial(
    jax.jit,
    static_argnames=(
        *("model", "constraints", "iwae_samples", "refine", "refine_constraints", "true_objects"),
    ),
)
def _evaluate(
    params,
    weights,
    key_data,
    images,
    count,
    box,
    mask,
    *,
    model: Model,
    constraints,
    iwae_samples,
    refine,
    refine_constraints,
    true_objects,
):
    keys = jax.random.wrap_key_data(key_data, impl=random_keys.IMPLEMENTATION)
    mode = model.posterior(params, None, images)
    q_n = CountChain(mode.presence_logits)

    def measured(posterior: Posterior, mode: Posterior):
        """(metrics, terms) of a sample of the posterior, and of the means."""
        terms, _ = elbo_terms(params, posterior, to_float(images), model=model)
        scene = model.scene(params, mode.latents, q_n.mode())
        found = {
            "nelbo": -terms.elbo,
            "se": metrics.squared_error(to_float(images), scene.canvas),
        }
        if box is not None:
            found["miou"] = metrics.mean_iou(scene.boxes, scene.count, box, count)
            found["centre"] = metrics.centre_distance(scene.boxes, scene.count, box, count)
        if mask is not None:
            most = dict(objects=model.config.max_objects, true_objects=true_objects)
            found["mask_miou"] = metrics.mask_iou(scene.mask, scene.count, mask, count, **most)
            ari = metrics.foreground_ari(scene.mask, mask, **most)
            found["fg_ari"], found["fg_ari_defined"] = ari
        return found, terms

    posterior = model.decoded(params, model.posterior(params, keys, images))
    found, terms = measured(posterior, mode)
    found |= {
        "count": q_n.mode(),
        "count_probs": jnp.exp(q_n.log_probs),
        "log_likelihood": terms.log_likelihood,
        "kl_count": terms.kl_count,
        "kl_shift": terms.kl_shift,
        "kl_scale": terms.kl_scale,
        "kl_appearance": terms.kl_appearance,
        **({} if terms.kl_background is None else {"kl_background": terms.kl_background}),
    } | statistics(constraints, posterior.replace(known_count=count), model.config.canvas)
    if refine:
        better = model.refine(
            params,
            images,
            mode,
            steps=refine,
            constraints=refine_constraints,
            weights=weights,
            batch_size=None,
        )
        noise = inference.draw_noise(keys, model.config)
        posterior = refinement.place(params, to_float(images), better, noise, model=model)
        posterior = model.decoded(params, posterior)
        of_image = tuple(c for c in constraints if c.of_mean is None)
        refined = measured(posterior, better)[0]
        refined.pop("fg_ari_defined", None)
        refined |= statistics(of_image, posterior.replace(known_count=count), model.config.canvas)
        found |= {name + REFINED: value for name, value in refined.items()}
    if iwae_samples:
        apart = random_keys.apart(keys)
        found["iwae"] = iwae(params, apart, images, model=model, samples=iwae_samples)
    if model.config.count is None:
        _, scores = elbo_terms(params, mode, to_float(images), model=model)  # [B, N]
        found["count_elbo"] = jnp.array(model.config.counts)[jnp.argmax(scores, axis=1)]
    if count is not None:
        found["acc"] = metrics.count_accuracy(q_n.mode(), count)
        if "count_elbo" in found:
            found["acc_elbo"] = metrics.count_accuracy(found["count_elbo"], count)
    return found
