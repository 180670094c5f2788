"""The loop's parts: the stream of batches, non-finite values, the log that a resumed run cuts."""

import json

import numpy as np
import pytest

from experiments.loop import batches, first_non_finite, total_steps
from experiments.workdir import MetricsLog, write_json


def test_every_image_is_seen_once_an_epoch():
    stream = batches(images=10, batch_size=4, seed=0, first=0, last=10).ravel()  # 4 epochs
    for epoch in range(4):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:20])


def test_a_stretch_of_batches_is_the_same_wherever_it_starts():
    whole = batches(10, 4, 3, 0, 12)
    pieces = [batches(10, 4, 3, first, first + 3) for first in (0, 3, 6, 9)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    assert not np.array_equal(whole, batches(10, 4, 4, 0, 12))


def test_a_run_is_whole_dispatches():
    from configs import mnist3

    config = mnist3.get_config("asr")
    config.train.epochs, config.train.batch_size, config.train.log_every = 3, 64, 50
    # 3 epochs of 20,000 images are 937.5 steps: 19 dispatches of 50.
    assert total_steps(config, 20_000) == 950
    # A dispatch longer than the run does not make the run longer.
    config.train.log_every = 5_000
    assert total_steps(config, 20_000) == 938


def test_the_first_broken_term_is_named_and_not_the_sums_it_breaks():
    good = np.arange(4.0)
    values = {
        "loss": np.array([1, 1, np.nan, np.nan]),
        "nelbo": np.array([1, 1, np.nan, np.nan]),
        "kl_scale": np.array([1, 1, np.inf, 1]),
        "gradient_norm": np.array([1, 1, np.nan, np.nan]),
        "se": good,
    }
    assert first_non_finite(values) == (2, "kl_scale")
    assert first_non_finite({"loss": good}) is None
    # The objective is fine and its gradient is not: then that is what broke.
    assert first_non_finite({"loss": good, "gradient_norm": good * np.nan})[1] == "gradient_norm"


def test_the_log_goes_on_from_the_checkpoint_without_a_line_twice_or_cut(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (50, 100, 150):
        log.write(step, {"loss": np.array([step, step + 2.0])})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # killed while it wrote
    log = MetricsLog(tmp_path, 100)
    assert [row["step"] for row in log.rows] == [50, 100]
    log.write(150, {"loss": np.array([7.0])})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 50, "loss": 51.0},
        {"step": 100, "loss": 101.0},
        {"step": 150, "loss": 7.0},
    ]


def test_a_json_file_is_complete_or_as_it_was(tmp_path, monkeypatch):
    """Stopped between writing and renaming, the old file stands."""
    file = tmp_path / "final.json"
    write_json(file, {"a": 1})

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_json(file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 1}
