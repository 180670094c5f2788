"""Real runs of the commands, tiny, each in a process of its own."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto.event_pb2 import Event, SessionLog

ROOT = Path(__file__).parents[2]
TINY = (
    "--config.data.train_size=64",
    "--config.data.test_size=20",
    "--config.data.digits_dir=embedded",
    "--config.train.batch_size=16",
    "--config.train.epochs=4",
    "--config.train.log_every=4",
    "--config.train.checkpoint_every=8",
    "--config.model.lstm=16",
    "--config.model.hidden=(32,16)",
    "--config.model.window=12",
    "--config.evaluate.iwae_samples=2",
    "--config.evaluate.generated=20",
)
TIMINGS = ("seconds", "steps_per_second", "compile_seconds")


def command(shared, module, *arguments):
    """The arguments of subprocess.run and Popen for `python -m experiments.<module>`."""
    environment = os.environ | {"ASR_DATA_DIR": str(shared / "scenes"), "JAX_PLATFORMS": "cpu"}
    return dict(
        args=[sys.executable, "-m", f"experiments.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(shared, module, *arguments, expect=0):
    """Returns what the command printed; `expect` is its exit status."""
    return finished(command(shared, module, *arguments), expect)


def finished(call, expect=0):
    done = subprocess.run(**call)
    assert done.returncode == expect, done.stdout[-3000:]
    return done.stdout


def tiny(shared, module, config, workdir, *arguments):
    """As `command`, of a tiny run."""
    where = (f"--config=configs/{config}", f"--workdir={workdir}")
    return command(shared, module, *where, *TINY, *arguments)


def run_tiny(shared, module, config, workdir, *arguments, expect=0):
    return finished(tiny(shared, module, config, workdir, *arguments), expect)


def run_killed(shared, module, config, workdir, *arguments, once):
    """As `run_tiny`, and kills it once the path is there."""
    process = subprocess.Popen(**tiny(shared, module, config, workdir, *arguments))
    while not once.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    output, _ = process.communicate()
    assert once.exists() and not (workdir / "final.json").exists(), output[-3000:]


def final(workdir):
    """The results of a run, without what the clock says."""
    results = json.loads((workdir / "final.json").read_text())
    return {name: value for name, value in results.items() if name not in TIMINGS}


def metrics(workdir):
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one, other, steps):
    """Bit for bit: the metrics, what TensorBoard shows, the last state and the results."""
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert scalars(one) == scalars(other)
    a, b = (state_of(folder / "checkpoints" / str(steps)) for folder in (one, other))
    assert len(a) > 50 and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert final(one) == final(other)


def scalars(workdir):
    """(tag, step) -> value, as TensorBoard shows them: each is there once."""
    values = shown(workdir)
    found = {at: v.simple_value for at, v in values.items() if v.HasField("simple_value")}
    rows = metrics(workdir)
    assert len(found) == sum(len(row) - 1 for row in rows) > 0  # a row's step is no scalar
    return found


def pictures(workdir):
    """(tag, step) -> image, as TensorBoard shows them."""
    return {at: v.image for at, v in shown(workdir).items() if v.HasField("image")}


def shown(workdir):
    """(tag, step) -> what TensorBoard shows."""
    found = {}
    for file in sorted((workdir / "tensorboard").iterdir()):
        for event in events(file.read_bytes()):
            if event.session_log.status == SessionLog.START:  # drops what it is about to say again
                found = {at: value for at, value in found.items() if at[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value
    return found


def events(data):
    """The events of a file: length, checksum, event, checksum; a kill may have cut the last off."""
    at = 0
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        if at + size + 16 <= len(data):
            yield Event.FromString(data[at + 12 : at + 12 + size])
        at += size + 16


def state_of(checkpoint):
    """The arrays of a checkpoint as they lie on disk, read by orbax alone."""
    tree = ocp.StandardCheckpointer().restore(checkpoint / "state")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if not is_key(leaf)]


def is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
