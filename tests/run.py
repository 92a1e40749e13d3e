"""
Run the tests on the installed package, in one of the three asynchronous modes.

    python tests/run.py [--mode threading|eventlet|gevent] [arguments of pytest]

The tests are copied to a directory of their own and run there, so that they can import
flask_rooms only from where it is installed: what is tested is the wheel that users get.
Worker processes that tests start find the mode in the environment, as ROOMS_TEST_MODE.
"""

# Nothing more may be imported before patch(): what is imported before it stays unpatched.
from __future__ import annotations

import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPIED = (
    *("tests", "example_app", "benchmarks", "docs", "README.md", "pyproject.toml"),
    # With these and the package it is the whole of the sources, of which a test makes an sdist.
    *(".ci", ".pre-commit-config.yaml", "CHANGES.md", "CONTRIBUTING.md", "LICENSE"),
    *(".github", "SECURITY.md"),
    *("MANIFEST.in", "dev", "setup.py", "tox.ini"),
)


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    modes = ("threading", "eventlet", "gevent")
    default = os.environ.get("ROOMS_TEST_MODE", "threading")
    parser.add_argument("--mode", choices=modes, default=default)
    options, pytest_arguments = parser.parse_known_args()
    os.environ["ROOMS_TEST_MODE"] = options.mode
    patch(options.mode)
    return run(pytest_arguments)


def patch(mode: str) -> None:
    if mode == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    elif mode == "gevent":
        from gevent import monkey

        monkey.patch_all()


def run(pytest_arguments: list[str]) -> int:
    import tempfile

    import pytest

    with tempfile.TemporaryDirectory(prefix="flask-rooms-tests-") as directory:
        copy_to(directory)
        os.chdir(directory)
        sys.path[0] = directory  # it was this file's directory, in the checkout
        try:
            return pytest.main(["-p", "no:cacheprovider", *pytest_arguments])
        finally:
            os.chdir(ROOT)


def copy_to(directory: str) -> None:
    import shutil

    ignore = shutil.ignore_patterns("__pycache__", "node_modules", ".*")
    for name in COPIED:
        source, target = os.path.join(ROOT, name), os.path.join(directory, name)
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=ignore)
        elif os.path.exists(source):
            shutil.copy(source, target)


if __name__ == "__main__":
    sys.exit(main())
