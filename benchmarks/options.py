"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys

from benchmarks.contenders import chosen, install_node_packages


def parse(program: str, **numbers: int) -> argparse.Namespace:
    """
    Return the options of the command line, with `contenders` that can run on this machine.

    Args:
        program: The module's name.
        numbers: Integer options and their defaults.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--only",
        metavar="WORDS",
        default="",
        help="run contenders whose names contain these words; alternatives after a comma",
    )
    options = parser.parse_args()
    options.contenders = chosen(options.only)
    if any(one.mode == "node" for one in options.contenders) and not install_node_packages():
        print("Without npm, Socket.IO's own server is left out.", file=sys.stderr)
        options.contenders = [one for one in options.contenders if one.mode != "node"]
    return options
