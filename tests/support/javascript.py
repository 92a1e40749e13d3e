"""Where JavaScript runs in the tests: Node, which does as a tab of a browser does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import pytest

from tests.support.clients import find_node_modules

#: Where a client is tested. It is the worker whose mode matters, and that sees no browser.
CONSOLES = [
    "node",
    pytest.param(
        "chromium",
        marks=pytest.mark.skipif(
            os.environ.get("ROOMS_TEST_MODE", "threading") != "threading",
            reason="in the other modes Node stands for all clients",
        ),
    ),
]

CONSOLE = Path(__file__).parent / "js" / "console.js"


class Console(Protocol):
    """Node, or a browser's tab."""

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, a promise's when it is there."""


class Node:
    """
    Node, as a context manager.

    Args:
        node_modules: The packages that a script can get with `npm(name)`.
    """

    def __init__(self, node_modules: Path) -> None:
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, str(CONSOLE), str(node_modules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()  # it has nothing to lose
        self._process.communicate()

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, a promise's when it is there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(script) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("Node has ended; it says why on the standard error.")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{script}: {answer['error']}")
        return answer["value"]


def require_npm(*packages: str) -> Path:
    """Return the directory of npm's packages; skip without them, and fail where CI is set."""
    directory = find_node_modules()
    absent = [name for name in packages if directory is None or not (directory / name).is_dir()]
    if directory is None or absent:
        # Continuous integration must not be green without them.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"Node and npm's {', '.join(absent)} are needed, the latter in ROOMS_NODE_MODULES."
        )
    return directory
