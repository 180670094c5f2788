"""Real runs of the commands, tiny: in a process of their own, or in one that is warm already."""

import functools
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
    "--config.data.train_size=32",
    "--config.data.test_size=20",
    "--config.data.digits_dir=embedded",
    "--config.train.batch_size=8",
    "--config.train.epochs=4",
    "--config.train.log_every=4",
    "--config.train.checkpoint_every=8",
    "--config.model.lstm=16",
    "--config.model.hidden=(32,16)",
    "--config.model.window=12",
    "--config.evaluate.iwae_samples=2",
    "--config.evaluate.generated=20",
    "--config.evaluate.every=8",
    "--config.evaluate.scenes=10",
)
# Fewer objects than the configurations have: their programs compile in half the time.
FEWER = {
    "overlap": (
        *("data.counts=(2,)", "data.canvas=32", "model.scale_prior=(-0.51,0.01)"),  # 12 of 32
        *("model.count=2", "model.max_objects=2"),
    ),
    "number": ("data.counts=(1,2)", "constraints.counts=(1,2)", "model.max_objects=2"),
}
TIMINGS = ("seconds", "steps_per_second", "compile_seconds")


class Warm:
    """A process that runs commands one after the other, each as if it was alone; see `warm`."""

    def __init__(self, folder, **environment):
        """folder: gets the scenes; environment: more of it, for this process alone."""
        self.folder, self._environment = folder, environment

    @functools.cached_property
    def _process(self):
        return subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.warm"],
            cwd=ROOT,
            env=environment(self.folder) | self._environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, module, *arguments, largest_file=None):
        """Starts a command, which may write no file of more than so many bytes."""
        self._process.stdin.write(json.dumps([module, list(map(str, arguments)), largest_file]))
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answer(self, expect=0):
        """What it printed, once it has ended; `expect` is its exit status."""
        line = self._process.stdout.readline()
        assert line, f"the process ended with status {self._process.wait()}"
        status, output = json.loads(line)
        assert status == expect, output[-3000:]
        return output

    def close(self):
        if "_process" in vars(self):
            self._process.kill()
            self._process.communicate()


def environment(folder):
    return os.environ | {"ASR_DATA_DIR": str(folder / "scenes"), "JAX_PLATFORMS": "cpu"}


def run(shared, module, *arguments, expect=0, **keywords):
    """Returns what a command printed; `expect` is its exit status."""
    shared.ask(module, *arguments, **keywords)
    return shared.answer(expect)


def of_tiny(module, config, workdir, *arguments):
    """The arguments of a tiny run; what is given besides holds."""
    fewer = (f"--config.{field}" for field in FEWER[module])
    every = (f"--config=configs/{config}", f"--workdir={workdir}", *TINY, *fewer, *arguments)
    # A tuple that is given twice would be both, one after the other.
    return tuple({argument.partition("=")[0]: argument for argument in every}.values())


def run_tiny(shared, module, config, workdir, *arguments, **keywords):
    return run(shared, module, *of_tiny(module, config, workdir, *arguments), **keywords)


def command(shared, module, *arguments):
    """What subprocess.run and Popen need for `python -m experiments.<module>`."""
    return dict(
        args=[sys.executable, "-m", f"experiments.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=environment(shared.folder),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def tiny(shared, module, config, workdir, *arguments):
    """As `command`, of a tiny run."""
    return command(shared, module, *of_tiny(module, config, workdir, *arguments))


def finished(call, expect=0):
    """Returns what a process of its own printed."""
    done = subprocess.run(**call)
    assert done.returncode == expect, done.stdout[-3000:]
    return done.stdout


def run_killed(shared, module, config, workdir, *arguments, once):
    """Runs in a process of its own, and kills it once the path is there."""
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
