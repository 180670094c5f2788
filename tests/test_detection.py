"""Detections are the posterior's mode, whatever the batch."""

import jax
import numpy as np
import pytest

import asr_jax
from tests.small import (
    PRESENCE_BIAS,
    PRESENCE_KERNEL,
    small_images,
    small_model,
    small_params,
    with_leaf,
)


@pytest.fixture(scope="module")
def found():
    model = small_model()
    params = with_leaf(small_params(model), PRESENCE_BIAS, lambda bias: bias + 0.9)
    params = with_leaf(params, PRESENCE_KERNEL, lambda kernel: 20 * kernel)
    images = small_images(11)
    return model, params, images, asr_jax.detect(params, images, model=model, batch_size=3)


def test_counts_are_those_of_the_stop_chain(found):
    """Enumerated in float64 from the probabilities of one more object."""
    model, params, images, detections = found
    logits = np.asarray(model.posterior(params, None, images).presence_logits, np.float64)
    more = 1 / (1 + np.exp(-logits))  # [B, K]
    for row, u in enumerate(more):
        q = [np.prod(u[:n]) * (1 - u[n] if n < 3 else 1) for n in range(4)]
        np.testing.assert_allclose(detections.probabilities[row], q, rtol=1e-5)
        assert detections.count[row] == np.argmax(q)
        at_least = [sum(q[t:]) for t in (1, 2, 3)]
        np.testing.assert_allclose(detections.scores[row], at_least, rtol=1e-5)
    assert len(set(detections.count.tolist())) > 1  # or it says little


def test_boxes_are_those_of_the_means(found):
    model, params, images, detections = found
    posterior = model.posterior(params, None, images)
    shift, scale = (np.asarray(of.loc, np.float64) for of in (posterior.shift, posterior.scale))
    middle = (np.tanh(shift) + 1) / 2 * 12  # pixels of 12 x 12
    half = 12 / (1 + np.exp(-scale)) / 2
    expected = np.concatenate([middle - half, middle + half], axis=-1)
    np.testing.assert_allclose(detections.boxes, expected, atol=1e-4)
    assert detections.boxes.shape == (11, 3, 4)


def test_results_do_not_depend_on_the_batch(found):
    model, params, images, detections = found
    whole = asr_jax.detect(params, np.uint8(np.rint(images * 255)) / 255.0, model=model)
    alone = asr_jax.detect(params, images[4:5], model=model)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(detections))
    np.testing.assert_allclose(alone.boxes[0], detections.boxes[4], atol=1e-4)
    np.testing.assert_allclose(alone.scores[0], detections.scores[4], atol=1e-5)
    assert whole.count.shape == (11,)


def test_images_and_batches_that_do_not_fit_are_refused(found):
    model, params, images, _ = found
    with pytest.raises(ValueError, match=r"must have shape \[B, 12, 12\]"):
        asr_jax.detect(params, images[:, :-1], model=model)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        asr_jax.detect(params, images * 255, model=model)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        asr_jax.detect(params, images, model=model, batch_size=0)
    with pytest.raises(ValueError, match=r"params\['decoder'\].* got \(none\): give what model"):
        asr_jax.detect({}, images, model=model)
    with pytest.raises(ValueError, match="model must be an asr_jax.Model, got ModelConfig"):
        asr_jax.detect(params, images, model=model.config)
