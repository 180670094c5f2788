"""Runs commands one after the other, each as if it had a process of its own.

Most of a tiny run is a start of Python and JAX, and programs to trace and to compile. Here they are
there for the runs that follow. A request is a line of JSON on stdin, an answer one on stdout.
"""

import functools
import json
import os
import resource
import runpy
import sys
import threading
import traceback

import jax
from absl import app, flags

import asr_jax
from asr_jax import parallel
from experiments.results import figures  # noqa: F401  what commands import, but for their flags
from experiments.run import finished, seeds, workdir  # noqa: F401

EXPERIMENT = "experiments.run.experiment"  # defines flags, and is no command


def share_programs():
    """What is traced and compiled for one run serves the next that asks for the same."""
    asr_jax.optimizer = functools.cache(asr_jax.optimizer)
    make, made = parallel.data_parallel, {}

    def data_parallel(steps, **how):
        key = (steps.func, *sorted(steps.keywords.items(), key=lambda item: item[0]), *how.items())
        if key not in made:
            made[key] = make(steps, **how)
        return made[key]

    parallel.data_parallel = data_parallel


def join_once():
    """Commands join the other processes of a run, which can be done once."""
    join = jax.distributed.initialize
    jax.distributed.initialize = lambda **how: (
        None if jax.distributed.is_initialized() else join(**how)
    )


def forget_flags():
    """Those of the last command: another has flags of the same names, or the same ones anew."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module in (EXPERIMENT, "absl.flags._flag") or module.endswith(".py"):
            for flag in list(defined):  # the second: fields of a config; a script: the command
                if flag.name in flags.FLAGS:
                    delattr(flags.FLAGS, flag.name)
    sys.modules.pop(EXPERIMENT, None)


def run(module, arguments):
    """The exit status of `python -m experiments.<module>`."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(f"experiments.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stdout.flush()
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    return 1


def answer(module, arguments, largest_file):
    """Status and output of a command that may write no file of more than so many bytes."""
    before, terminal = (sys.stdout, sys.stderr), [os.dup(1), os.dup(2)]
    said, (reader, writer) = [], os.pipe()
    listener = threading.Thread(target=listen, args=(reader, said))
    listener.start()
    for number in (1, 2):
        os.dup2(writer, number)
    os.close(writer)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", 1, closefd=False)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file or most, most))
    try:
        status = run(module, arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
        for number, file in enumerate(terminal, start=1):
            os.dup2(file, number)  # the last to write to the pipe, which ends
            os.close(file)
    listener.join()
    while workdir._held:
        workdir._held.pop().release()
    forget_flags()
    return status, "".join(said)


def listen(reader, said):
    with open(reader, errors="replace", newline="") as file:
        said.append(file.read())


if __name__ == "__main__":
    share_programs()
    join_once()
    try:
        app.run(lambda _: None, [sys.argv[0]])  # defines absl's own flags
    except SystemExit:
        pass
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)
