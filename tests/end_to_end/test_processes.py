"""One run shared by two processes of four devices each, as hosts of a pod share one."""

import contextlib
import multiprocessing
import re
import shutil
import socket
import subprocess

import numpy as np
import pytest

from asr_jax import parallel
from data_gen import multi_mnist
from tests.end_to_end.runs import assert_same_run, final, finished, metrics, run_tiny, tiny

# Rounding errors of two programs grow with the learning rate.
SAME = ("--config.optimizer.learning_rate=1e-5",)
QUICK = (*SAME, "--config.evaluate.iwae_samples=0", "--config.evaluate.generated=0")
CONFIG = "mnist13.py"  # R_num has a mean over the batch, and so over all processes

# Gloo's threads write "[Gloo] Rank 0 is connected to 1 peer ranks. ..." in pieces, which may mix.
GLOO = re.compile(
    r"\[Gloo\] Rank|is connected to|peer ranks\.|Expected number of connected peer ranks is :|\d+"
)


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start_two(shared, workdir, *arguments, devices=4):
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for index in range(2):
        call = tiny(shared, "number", CONFIG, workdir, *arguments)
        call["env"] |= {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(index),
            "JAX_NUM_CPU_DEVICES": str(devices),
        }
        processes.append(subprocess.Popen(**call))
    return processes


def run_two(shared, workdir, *arguments, expect=0, **keywords):
    """Returns what each process printed, gloo included."""
    processes = start_two(shared, workdir, *arguments, **keywords)
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [expect] * 2, outputs
    return outputs


@pytest.fixture(scope="module")
def alone(shared, tmp_path_factory):
    """The same run by one process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    run_tiny(shared, "number", CONFIG, workdir, *SAME)
    return workdir


@pytest.fixture(scope="module")
def two(shared, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two") / "run"
    return workdir, run_two(shared, workdir, *SAME)


def assert_close(one, other, rtol=2e-4):
    """The same numbers up to rounding."""
    rows = list(zip(metrics(one), metrics(other), strict=True))
    assert len(rows) == 4
    for a, b in rows:
        assert a["step"] == b["step"]
        for name in ("loss", "nelbo", "number", "balance", "gradient_norm"):
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, err_msg=name)


def test_two_processes_are_one_run(alone, two):
    workdir, outputs = two
    assert_close(alone, workdir)
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
    shared, alone, two, tmp_path
):
    for start, resume in ((two[0], run_tiny), (alone, None)):
        workdir = tmp_path / start.parent.name
        shutil.copytree(start, workdir)
        shutil.rmtree(workdir / "checkpoints" / "16")
        (workdir / "final.json").unlink()
        if resume:
            run_tiny(shared, "number", CONFIG, workdir, *SAME, "--resume")
        else:
            run_two(shared, workdir, *SAME, "--resume")
        assert_close(alone, workdir)
        np.testing.assert_allclose(final(alone)["nelbo"], final(workdir)["nelbo"], rtol=1e-3)


def test_two_killed_processes_go_on_bit_for_bit(shared, two, tmp_path):
    killed = tmp_path / "run"
    processes = start_two(shared, killed, *SAME)
    while not (killed / "checkpoints" / "8").exists():
        assert processes[0].poll() is None
    for process in processes:
        process.kill()
        process.communicate()
    assert not (killed / "checkpoints" / "16").exists()
    run_two(shared, killed, *SAME, "--resume")
    assert_same_run(killed, two[0], 16)


def test_pmap_over_two_processes(shared, alone, tmp_path):
    run_two(shared, tmp_path / "run", *QUICK, "--config.train.parallel=pmap")
    assert_close(alone, tmp_path / "run")


def test_scenes_may_be_divided_over_the_devices(shared, alone, tmp_path):
    """Other images meet in a batch then; how they are divided over processes does not matter."""
    sharded = (*QUICK, "--config.data.placement=sharded")
    outputs = run_two(shared, tmp_path / "two", *sharded)
    assert "8 scenes, 0.0 MiB, on each of 8 CPU devices (sharded)" in outputs[0]
    call = tiny(shared, "number", CONFIG, tmp_path / "one", *sharded)
    call["env"]["JAX_NUM_CPU_DEVICES"] = "8"
    finished(call)
    assert_close(tmp_path / "one", tmp_path / "two")
    assert metrics(tmp_path / "one")[0]["nelbo"] != metrics(alone)[0]["nelbo"]


def test_an_error_of_process_0_ends_both(shared, two):
    outputs = run_two(shared, two[0], *SAME, expect=1)  # without --resume
    assert "pass --resume" in outputs[0] and "Traceback" not in outputs[0]
    assert GLOO.sub("", outputs[1]).strip() == ""


@pytest.mark.parametrize("devices, batch", [(4, 12), (3, 16)])
def test_a_batch_that_all_devices_cannot_share_is_refused(shared, tmp_path, devices, batch):
    arguments = (f"--config.train.batch_size={batch}",)
    outputs = run_two(shared, tmp_path / "run", *arguments, expect=1, devices=devices)
    assert f"a batch of {batch} does not divide over {2 * devices} devices" in outputs[0]
    assert not (tmp_path / "run").exists()


def test_half_an_environment_is_refused(shared, tmp_path):
    call = tiny(shared, "number", CONFIG, tmp_path / "run")
    call["env"]["JAX_COORDINATOR_ADDRESS"] = "127.0.0.1:1"
    output = finished(call, expect=1)
    assert "JAX_NUM_PROCESSES and JAX_PROCESS_ID must be" in output
    assert "Traceback" not in output


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
