"""One run shared by two processes of four devices each, as hosts of a pod share one."""

import contextlib
import multiprocessing
import re
import shutil
import socket
import subprocess

import numpy as np
import pytest

from asr_jax import parallel, processes
from data_gen import multi_mnist
from tests.end_to_end.runs import (
    Warm,
    assert_same_run,
    final,
    finished,
    metrics,
    of_tiny,
    run_tiny,
    tiny,
)

# Rounding errors of two programs grow with the learning rate.
SAME = ("--config.optimizer.learning_rate=1e-5", "--config.evaluate.every=16")
EVALUATE = ("iwae_samples", "generated", "every")
QUICK = (*SAME, *(f"--config.evaluate.{name}=0" for name in EVALUATE))
CONFIG = "mnist13.py"  # R_num has a mean over the batch, and so over all processes

# Gloo's threads write "[Gloo] Rank 0 is connected to 1 peer ranks. ..." in pieces, which may mix.
GLOO = re.compile(
    r"\[Gloo\] Rank|is connected to|peer ranks\.|Expected number of connected peer ranks is :|\d+"
)


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environments():
    """Of two processes that share a run."""
    address = f"127.0.0.1:{free_port()}"
    for index in range(2):
        yield {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(index),
            "JAX_NUM_CPU_DEVICES": "4",
        }


@pytest.fixture(scope="module")
def pair(shared):
    """Two processes that share one run after the other."""
    pair = [Warm(shared.folder, **environment) for environment in environments()]
    yield pair
    for process in pair:
        process.close()


def run_two(pair, workdir, *arguments, expect=0):
    """Returns what each process printed, gloo included."""
    for process in pair:
        process.ask("number", *of_tiny("number", CONFIG, workdir, *arguments))
    return [process.answer(expect) for process in pair]


def start_two(shared, workdir, *arguments):
    """Two processes that end with their run."""
    started = []
    for environment in environments():
        call = tiny(shared, "number", CONFIG, workdir, *arguments)
        call["env"] |= environment
        started.append(subprocess.Popen(**call))
    return started


@pytest.fixture(scope="module")
def alone(shared, tmp_path_factory):
    """The same run by one process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    run_tiny(shared, "number", CONFIG, workdir, *SAME)
    return workdir


@pytest.fixture(scope="module")
def two(pair, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two") / "run"
    return workdir, run_two(pair, workdir, *SAME)


def assert_close(one, other, rtol=2e-4):
    """The same numbers up to rounding."""
    rows = list(zip(metrics(one), metrics(other), strict=True))
    assert len(rows) == 4
    for a, b in rows:
        assert a["step"] == b["step"]
        looked = [name for name in ("held_out_nelbo", "held_out_se") if name in a and name in b]
        for name in ("loss", "nelbo", "number", "balance", "gradient_norm", *looked):
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, err_msg=name)


def test_two_processes_are_one_run(alone, two):
    workdir, outputs = two
    assert_close(alone, workdir)
    assert "held_out_nelbo" in metrics(workdir)[-1]
    a, b = final(alone), final(workdir)
    assert a.keys() == b.keys()
    for name in ("nelbo", "se", "miou", "iwae", "kl_shift", "F1", "balance"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(
        a["generation"]["data"]["nearest"], b["generation"]["data"]["nearest"], rtol=1e-4
    )
    assert "on each of 8 CPU devices (replicated)" in outputs[0] and "nelbo" in outputs[0]
    assert GLOO.sub("", outputs[1]).strip() == ""  # process 0 speaks for both
    assert (workdir / "figures" / "reconstructions.png").exists()


def test_a_run_of_two_processes_goes_on_in_one_and_the_other_way_round(
    shared, pair, alone, two, tmp_path
):
    for start in (two[0], alone):
        workdir = tmp_path / start.parent.name
        shutil.copytree(start, workdir)
        shutil.rmtree(workdir / "checkpoints" / "16")
        (workdir / "final.json").unlink()
        if start == alone:
            run_two(pair, workdir, *SAME, "--resume")
        else:
            run_tiny(shared, "number", CONFIG, workdir, *SAME, "--resume")
        assert_close(alone, workdir)
        np.testing.assert_allclose(final(alone)["nelbo"], final(workdir)["nelbo"], rtol=1e-3)


def test_two_killed_processes_go_on_bit_for_bit(shared, pair, two, tmp_path):
    killed = tmp_path / "run"
    started = start_two(shared, killed, *SAME)
    while not (killed / "checkpoints" / "8").exists():
        assert started[0].poll() is None
    for process in started:
        process.kill()
        process.communicate()
    assert not (killed / "checkpoints" / "16").exists()
    run_two(pair, killed, *SAME, "--resume")
    assert_same_run(killed, two[0], 16)


def test_pmap_over_two_processes(pair, alone, tmp_path):
    run_two(pair, tmp_path / "run", *QUICK, "--config.train.parallel=pmap")
    assert_close(alone, tmp_path / "run")


def test_scenes_may_be_divided_over_the_devices(shared, pair, alone, tmp_path):
    """Other images meet in a batch then; how they are divided over processes does not matter."""
    sharded = (*QUICK, "--config.data.placement=sharded")
    outputs = run_two(pair, tmp_path / "two", *sharded)
    assert "4 scenes, 0.0 MiB, on each of 8 CPU devices (sharded)" in outputs[0]
    call = tiny(shared, "number", CONFIG, tmp_path / "one", *sharded)
    call["env"]["JAX_NUM_CPU_DEVICES"] = "8"
    finished(call)
    assert_close(tmp_path / "one", tmp_path / "two")
    assert metrics(tmp_path / "one")[0]["nelbo"] != metrics(alone)[0]["nelbo"]


def test_an_error_of_process_0_ends_both(shared, two):
    """In processes of their own, that have to end and not only to say so."""
    started = start_two(shared, two[0], *SAME)  # without --resume
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [1, 1], outputs
    assert "pass --resume" in outputs[0] and "Traceback" not in outputs[0]
    assert GLOO.sub("", outputs[1]).strip() == ""


def test_a_batch_that_all_devices_cannot_share_is_refused(pair, tmp_path):
    outputs = run_two(pair, tmp_path / "run", "--config.train.batch_size=12", expect=1)
    assert "batch_size=12 does not divide over 8 devices" in outputs[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1", "got 127.0.0.1:1, None, None: set all or none"),
        (
            "JAX_NUM_PROCESSES",
            "2",
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID must be an address and tw",
        ),
        ("JAX_PROCESS_ID", "1", "got None, None, 1: set all or none"),
        ("SLURM_STEP_NUM_TASKS", "abc", "SLURM_STEP_NUM_TASKS must be a whole number, got 'abc'"),
        ("OMPI_COMM_WORLD_SIZE", "2.0", "OMPI_COMM_WORLD_SIZE must be a whole number, got '2.0'"),
    ],
)
def test_an_environment_that_names_no_processes_is_refused(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        processes.initialize()


def build(folder, barrier, results):
    made = []
    generate = multi_mnist.builder.generate
    multi_mnist.builder.generate = lambda *a: (made.append(a), generate(*a))[1]
    barrier.wait()
    config = multi_mnist.SceneConfig(train_size=300, test_size=30)
    data = multi_mnist.load(config, "embedded", str(folder))
    results.put((len(made), data.train.image.sum(), len(data.test.image)))


def test_processes_that_share_a_folder_build_the_scenes_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    arguments = (tmp_path, barrier, results)
    started = [spawn.Process(target=build, args=arguments) for _ in range(2)]
    for process in started:
        process.start()
    (made, pixels, tests), (others, same, also) = (results.get(timeout=300) for _ in started)
    for process in started:
        process.join()
    assert sorted((made, others)) == [0, 2]  # both splits by one of them
    assert pixels == same > 0 and tests == also == 30
    assert not list(tmp_path.rglob("*incomplete*"))


def test_the_rows_of_a_process_are_those_of_its_devices():
    assert parallel.own_rows(67) == slice(0, 64)  # 8 devices with 8 rows each
    with pytest.raises(ValueError, match="7 training scenes cannot be divided over 8 devices"):
        parallel.own_rows(7)
