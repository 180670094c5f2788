"""`read` and `write` against plain bilinear loops, their identities, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import spatial

try:
    enable_x64 = jax.enable_x64
except AttributeError:  # older JAX
    from jax.experimental import enable_x64

read = jax.jit(spatial.read, static_argnames="window")
write = jax.jit(spatial.write, static_argnames="canvas")


def pixel(image, row, column):
    """image[row, column], and 0 outside."""
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return image[row, column] if inside else 0.0


def bilinear(image, y, x):
    """The image between its pixels; pixel (i, j) has its centre at (i + 1/2, j + 1/2)."""
    top, left = int(np.floor(y - 0.5)), int(np.floor(x - 0.5))
    down, right = y - 0.5 - top, x - 0.5 - left
    return (
        (1 - down) * (1 - right) * pixel(image, top, left)
        + (1 - down) * right * pixel(image, top, left + 1)
        + down * (1 - right) * pixel(image, top + 1, left)
        + down * right * pixel(image, top + 1, left + 1)
    )


def corner_and_size(centre, side, canvas):
    """(x0, y0) and the side of a box, in pixels."""
    size = side[0] * min(canvas)
    x = (centre[0] + 1) / 2 * canvas[1]
    y = (centre[1] + 1) / 2 * canvas[0]
    return x - size / 2, y - size / 2, size


def read_loop(image, centre, side, window):
    x0, y0, size = corner_and_size(centre, side, image.shape)
    pixel = size / window
    return np.array(
        [
            [bilinear(image, y0 + (i + 0.5) * pixel, x0 + (j + 0.5) * pixel) for j in range(window)]
            for i in range(window)
        ]
    )


def write_loop(content, centre, side, canvas):
    x0, y0, size = corner_and_size(centre, side, canvas)
    scale = len(content) / size
    return np.array(
        [
            [
                bilinear(content, (i + 0.5 - y0) * scale, (j + 0.5 - x0) * scale)
                for j in range(canvas[1])
            ]
            for i in range(canvas[0])
        ]
    )


def random_places(seed, number):
    """Centres anywhere, so that many boxes lie partly outside, and sides of 0.15 to 1.2."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (number, 2)), rng.uniform(0.15, 1.2, (number, 1)), rng


def f32(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


CANVASES = [(8, 8), (7, 11), (12, 6)]


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("window", [1, 5])
def test_read_equals_a_bilinear_loop(canvas, window):
    centre, side, rng = random_places(0, 12)
    images = rng.uniform(size=(12, *canvas))
    expected = [read_loop(*x, window) for x in zip(images, centre, side, strict=True)]
    got = read(*f32(images, centre, side), window)
    assert got.shape == (12, window, window)
    # Positions of up to 12 pixels, rounded in float32, enter with a slope of up to 1.
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("window", [1, 5])
def test_write_equals_a_bilinear_loop(canvas, window):
    centre, side, rng = random_places(1, 12)
    windows = rng.uniform(size=(12, window, window))
    expected = [write_loop(*x, canvas) for x in zip(windows, centre, side, strict=True)]
    got = write(*f32(windows, centre, side), canvas)
    assert got.shape == (12, *canvas)
    # As above, but a position counts window / size times over: up to 5 a canvas pixel.
    np.testing.assert_allclose(got, expected, atol=3e-5)


def test_centre_zero_and_side_one_is_the_identity():
    images = jnp.asarray(np.random.default_rng(2).uniform(size=(3, 8, 8)), jnp.float32)
    centre, side = jnp.zeros((3, 2)), jnp.ones((3, 1))
    np.testing.assert_allclose(read(images, centre, side, 8), images, atol=1e-6)
    np.testing.assert_allclose(write(images, centre, side, (8, 8)), images, atol=1e-6)


def places_and_interior(canvas, window):
    """Boxes inside a canvas, and the pixels that lie between centres of window pixels."""
    centre = np.array([[0.1, -0.2], [-0.23, 0.3], [0.0, 0.0]])
    side = np.array([[0.5], [0.4], [0.6]])
    rows, columns = np.mgrid[: canvas[0], : canvas[1]] + 0.5
    interior = []
    for place in zip(centre, side, strict=True):
        x0, y0, size = corner_and_size(*place, canvas)
        edge = size / window / 2
        interior.append(
            (rows > y0 + edge)
            & (rows < y0 + size - edge)
            & (columns > x0 + edge)
            & (columns < x0 + size - edge)
        )
    return centre, side, np.array(interior)


@pytest.mark.parametrize("canvas, window", [((24, 24), 16), ((20, 30), 12), ((24, 24), 6)])
def test_write_of_read_is_exact_inside_where_the_image_is_affine(canvas, window):
    rows, columns = np.mgrid[: canvas[0], : canvas[1]]
    image = 0.1 + 0.01 * rows + 0.02 * columns  # bilinear interpolation is exact on it
    centre, side, interior = places_and_interior(canvas, window)
    images, centre, side = f32(np.stack([image] * 3), centre, side)
    again = write(read(images, centre, side, window), centre, side, canvas)
    assert interior.sum() > 200
    np.testing.assert_allclose(
        np.array(again)[interior], np.stack([image] * 3)[interior], atol=1e-5
    )


@pytest.mark.parametrize("canvas, window", [((24, 24), 16), ((20, 30), 12)])
def test_write_of_read_returns_a_smooth_image_inside(canvas, window):
    rows, columns = np.mgrid[: canvas[0], : canvas[1]]
    image = 0.5 + 0.25 * np.sin(0.3 * rows + 0.1) + 0.25 * np.cos(0.2 * columns)
    curvature = 0.25 * 0.3**2 + 0.25 * 0.2**2
    centre, side, interior = places_and_interior(canvas, window)
    spacing = side.max() * min(canvas) / window
    # Bilinear interpolation errs by at most spacing^2 / 8 * (|f_xx| + |f_yy|): once between the
    # canvas's pixels, once between the window's.
    bound = (1 + spacing**2) / 8 * curvature
    assert bound < 0.02
    images, centre, side = f32(np.stack([image] * 3), centre, side)
    again = write(read(images, centre, side, window), centre, side, canvas)
    np.testing.assert_allclose(
        np.array(again)[interior], np.stack([image] * 3)[interior], atol=bound
    )


def test_write_leaves_the_canvas_empty_outside_the_box():
    canvas, window = (10, 14), 5
    centre, side = np.array([0.2, -0.3]), np.array([0.4])
    x0, y0, size = corner_and_size(centre, side, canvas)
    drawn = np.array(write(*f32(np.ones((window, window)), centre, side), canvas))
    rows, columns = np.mgrid[: canvas[0], : canvas[1]] + 0.5
    fade = size / window / 2  # a bilinear window ends half a window pixel beyond its box
    outside = (rows < y0 - fade) | (rows > y0 + size + fade)
    outside |= (columns < x0 - fade) | (columns > x0 + size + fade)
    inside = (rows > y0 + fade) & (rows < y0 + size - fade)
    inside &= (columns > x0 + fade) & (columns < x0 + size - fade)
    np.testing.assert_array_equal(drawn[outside], 0)
    np.testing.assert_allclose(drawn[inside], 1, atol=1e-6)
    assert outside.sum() > 50 and inside.sum() > 5


def test_read_gives_zero_outside_the_image():
    ones = jnp.ones((4, 8, 8))
    # A window as large as the image, centred on its left, right, upper and lower edge.
    centre = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    left, right, top, bottom = np.array(read(ones, centre, jnp.ones((4, 1)), 8))
    expected = np.repeat([[0.0, 0, 0, 0, 1, 1, 1, 1]], 8, axis=0)
    np.testing.assert_array_equal(left, expected)
    np.testing.assert_array_equal(right, expected[:, ::-1])
    np.testing.assert_array_equal(top, expected.T)
    np.testing.assert_array_equal(bottom, expected.T[::-1])


@pytest.mark.parametrize("canvas", [(8, 8), (8, 12), (12, 8)])
def test_moving_the_centre_by_one_pixel_moves_the_result_by_one(canvas):
    height, width = canvas
    rng = np.random.default_rng(4)
    image, window = f32(rng.uniform(size=(1, *canvas)), rng.uniform(size=(1, 4, 4)))
    side = jnp.array([[0.5]])  # 4 pixels of the shorter edge, 8: one window pixel a pixel
    start = np.array([[-0.1, 0.05]])
    right, down = start + [[2 / width, 0]], start + [[0, 2 / height]]
    start, right, down = f32(start, right, down)

    def read_at(centre):
        return np.array(read(image, centre, side, 4)[0])

    def write_at(centre):
        return np.array(write(window, centre, side, canvas)[0])

    np.testing.assert_allclose(read_at(right)[:, :-1], read_at(start)[:, 1:], atol=1e-5)
    np.testing.assert_allclose(read_at(down)[:-1], read_at(start)[1:], atol=1e-5)
    np.testing.assert_allclose(write_at(right)[:, 1:], write_at(start)[:, :-1], atol=1e-5)
    np.testing.assert_allclose(write_at(down)[1:], write_at(start)[:-1], atol=1e-5)
    assert np.ptp(read_at(start)) > 0.1 and np.ptp(write_at(start)) > 0.1


def distance_to_kinks(centre, side, window, canvas):
    """How far all sampling positions stay from where a hat function bends, in pixels."""
    x0, y0, size = corner_and_size(centre, side, canvas)
    offsets = (np.arange(window) + 0.5) * size / window
    reading = np.concatenate([x0 + offsets, y0 + offsets]) - 0.5
    writing = [np.arange(n) + 0.5 - start for n, start in zip(canvas, (y0, x0), strict=True)]
    positions = np.concatenate([reading, np.concatenate(writing) * window / size - 0.5])
    return np.abs(positions - np.round(positions)).min()


@pytest.mark.parametrize(
    "centre, side", [((0.113, -0.217), 0.613), ((-0.771, 0.653), 0.4177), ((0.1, 0.2), 1.071)]
)
def test_gradients_equal_finite_differences(centre, side):
    canvas, window, step = (7, 9), 4, 1e-6
    place = np.array([*centre, side])
    assert distance_to_kinks(place[:2], place[2:], window, canvas) > 1e-3  # step is far smaller
    rng = np.random.default_rng(5)
    with enable_x64(True):
        image, canvas_weights = jnp.asarray(rng.normal(size=(2, 1, *canvas)))
        content, window_weights = jnp.asarray(rng.normal(size=(2, 1, window, window)))

        def read_sum(place):
            return jnp.sum(window_weights * read(image, place[None, :2], place[None, 2:], window))

        def write_sum(place):
            return jnp.sum(
                canvas_weights * write(content, place[None, :2], place[None, 2:], canvas)
            )

        for function in (jax.jit(read_sum), jax.jit(write_sum)):
            gradient = np.array(jax.grad(function)(jnp.asarray(place)))
            assert gradient.dtype == np.float64
            expected = [
                (function(jnp.asarray(place + e)) - function(jnp.asarray(place - e))) / (2 * step)
                for e in step * np.eye(3)
            ]
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)
            assert np.abs(gradient).min() > 1e-3


def test_a_batch_equals_batches_of_one():
    centre, side, rng = random_places(6, 5)
    images, windows = rng.uniform(size=(5, 8, 10)), rng.uniform(size=(5, 4, 4))
    images, windows, centre, side = f32(images, windows, centre, side)
    cut, written = (
        read(images, centre, side, 4),
        write(windows, centre, side, (8, 10)),
    )
    for b in range(5):
        one = slice(b, b + 1)
        np.testing.assert_allclose(
            cut[one], read(images[one], centre[one], side[one], 4), atol=1e-6
        )
        np.testing.assert_allclose(
            written[b], write(windows[b], centre[b], side[b], (8, 10)), atol=1e-6
        )


def test_write_takes_any_leading_axes():
    centre, side, rng = random_places(7, 6)
    windows, centre, side = f32(rng.uniform(size=(6, 4, 4)), centre, side)
    flat = write(windows, centre, side, (8, 10))
    nested = write(
        windows.reshape(2, 3, 4, 4), centre.reshape(2, 3, 2), side.reshape(2, 3, 1), (8, 10)
    )
    np.testing.assert_allclose(nested, flat.reshape(2, 3, 8, 10), atol=1e-6)
