"""python -m bench [decode] [history] [prefill] [--shapes tiny|small|2b] [--format F] [--json FILE] [--write]

Measures, all of it unless told, and prints Markdown. --json keeps every value; --write puts the tables into README.md.
"""

import argparse
import os
import sys
from pathlib import Path

# Torch lives on the same GPU: JAX must not take all of its memory at once. On a CPU, threads that wait must not spin:
# the other contenders need the cores.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax

from .machine import device_bytes, summary
from .report import as_json, markdown, write_results
from .sections import Run, decode, history, prefill
from .shapes import PLANS, default_shapes, griffin

SECTIONS = {"decode": decode, "history": history, "prefill": prefill}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="|".join(SECTIONS))
    parser.add_argument("--shapes", choices=PLANS, help="2b where the device has the memory, else small")
    parser.add_argument("--format", choices=("f32", "bf16", "int8", "int4"), help="bf16 on accelerators, else f32")
    parser.add_argument("--exact", action="store_true", help="the edge's numbers instead of the fastest ones")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no {unknown.pop()}: {', '.join(SECTIONS)}")
    shapes = options.shapes or default_shapes(device_bytes())
    format = options.format or ("f32" if jax.default_backend() == "cpu" else "bf16")
    mode = " --exact" if options.exact else ""
    wanted = " ".join(options.sections)
    command = f"python -m bench {wanted} --shapes {shapes} --format {format}{mode} --rounds {options.rounds}"
    command = command.replace("  ", " ")

    run = Run(griffin(shapes, format), PLANS[shapes], options.rounds, options.exact)
    machine, done = summary(), []
    for name in options.sections or SECTIONS:
        done.append(SECTIONS[name](run))
        # Should a later one fail, what was measured so far is not lost.
        if options.json:
            options.json.write_text(as_json(done, machine, command))
    results = markdown(done, machine, command)
    print(results)
    if options.write:
        write_results(Path(__file__).with_name("README.md"), results)


if __name__ == "__main__":
    main(sys.argv[1:])
