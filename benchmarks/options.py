"""The command line of the benchmarks, and the contenders that it chooses."""

from __future__ import annotations

import argparse
import sys

from benchmarks.contenders import chosen, install_node_packages


def parse(program: str, **numbers: int) -> argparse.Namespace:
    """
    Return the options of the command line; `contenders` are those that can run here.

    Args:
        program: The module's name.
        numbers: Options with whole numbers, and their defaults.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--only", metavar="WORDS", default="", help="that the names of contenders have to contain"
    )
    options = parser.parse_args()
    options.contenders = chosen(options.only)
    if any(one.mode == "node" for one in options.contenders) and not install_node_packages():
        print("Without npm, Socket.IO's own server is left out.", file=sys.stderr)
        options.contenders = [one for one in options.contenders if one.mode != "node"]
    return options
