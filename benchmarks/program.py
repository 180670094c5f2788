"""What a compiled program consists of, read from its text."""

from __future__ import annotations

import collections
import functools
import math
import re
from collections.abc import Iterator

import jax
from jax.extend import backend
from jaxlib.xla_client import _xla

# Instructions that only name what is there, or wait for what another has started.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
FREE |= {"partition-id", "replica-id", "opt-barrier"}
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}  # else 4
COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{$")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.-]+ = (.*?) ([a-z][\w-]*)\((.*)$")
CALLED = re.compile(r"(?:body|to_apply|(?:true|false)_computation)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TIMES = re.compile(r'known_trip_count":\{"n":"(\d+)"')
ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
Instruction = tuple[str, str, str]  # type of the result, operation, operands and attributes


def facts(lowered: jax.stages.Lowered, compiled: jax.stages.Compiled, steps: bool) -> dict:
    """What one device has to do, and what it must hold.

    Args:
      lowered, compiled: a program, for whichever device.
      steps: whether it is a loop over steps, of which one is counted; else all of it is.

    Returns:
      `kernels`, what is launched one after the other, and `fusions` among them; `collectives`,
      operation -> number, and `collective_bytes` of their results; bytes of `arguments`,
      `outputs` and `temporaries`; `flops` and `moved`, operations and bytes to and from memory, as
      the compiler counts them: of a loop's body once, and of what surrounds it.
    """
    computations, entry = parse(compiled.as_text())
    if steps:
        (loop,) = (rest for _, operation, rest in computations[entry] if operation == "while")
        entry = CALLED.search(loop)[1]
    launched = list(work(computations, entry))
    operations = collections.Counter(operation for _, operation in launched)
    collective = [of for of in launched if of[1].startswith(COLLECTIVES)]
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    if cost is None:  # the compiler for NVIDIA does not say; JAX's own count does for any machine
        before = lowered.compiler_ir("hlo").as_hlo_module()
        after = compiled.runtime_executable().hlo_modules()[0]
        count = functools.partial(_xla.hlo_module_cost_analysis, backend.get_backend("cpu"))
        # What calls of a library compute is known before they are calls, what is moved after.
        cost = {"flops": count(before)["flops"], "bytes accessed": count(after)["bytes accessed"]}
    return {
        "kernels": len(launched),
        "fusions": operations["fusion"],
        "collectives": dict(
            collections.Counter(name.removesuffix("-start") for _, name in collective)
        ),
        "collective_bytes": sum(size(result) for result, _ in collective),
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "flops": cost["flops"],
        "moved": cost["bytes accessed"],
    }


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """A program as text -> the instructions of its computations, and the name of the first."""
    computations, entry, current = {}, "", []
    for line in text.splitlines():
        if start := COMPUTATION.match(line):
            current = computations[start[2]] = []
            entry = start[2] if start[1] else entry
        elif found := INSTRUCTION.match(line):
            current.append(found.groups())
    return computations, entry


def work(computations: dict[str, list[Instruction]], name: str) -> Iterator[tuple[str, str]]:
    """(type of the result, operation) of all that a computation launches, in order.

    A loop is as many times its body, where the compiler knows how many, else one; of branches all
    are taken.
    """
    for result, operation, rest in computations[name]:
        if operation in ("while", "call", "conditional"):
            times = int((TIMES.search(rest) or [0, 1])[1])
            branches = re.findall(r"[\w.-]+", (BRANCHES.search(rest) or ["", ""])[1])
            for called in (CALLED.findall(rest) + branches) * times:
                yield from work(computations, called)
        elif operation not in FREE and not operation.endswith("-done"):
            yield result, operation


def size(result: str) -> int:
    """Bytes of a type, such as `(f32[2,3]{1,0}, u8[])`."""
    return sum(
        BYTES.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n)
        for kind, shape in ARRAY.findall(result)
    )
