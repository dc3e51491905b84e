"""The runner's program: where it is, and calling it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, List, Optional, Sequence

from .protocol import RunnerError


def find() -> str:
    """The path of ``reactorcide-runner``.

    Looked for in ``$REACTORCIDE_RUNNER``, at ``/reactorcide-runner``, in this package, and in ``PATH``.
    """
    own = Path(__file__).parent / "bin" / "reactorcide-runner"
    for candidate in (os.environ.get("REACTORCIDE_RUNNER"), "/reactorcide-runner", str(own)):
        if candidate and os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    found = shutil.which("reactorcide-runner")
    if found:
        return found
    raise RunnerError(
        "unreachable",
        "the program reactorcide-runner is not here: install the wheel that carries it, put it into PATH, "
        "or set REACTORCIDE_RUNNER to its path",
    )


def call(arguments: Sequence[str], cwd: Optional[str] = None) -> str:
    """Calls the runner and returns what it printed; raises :class:`RunnerError` if it failed."""
    done = subprocess.run([find(), *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RunnerError("failed", lines[-1] if lines else f"the runner exited with {done.returncode}")
    return done.stdout


def call_json(arguments: Sequence[str], cwd: Optional[str] = None) -> Any:
    """The same, read as JSON."""
    command: List[str] = [*arguments, "--format", "json"]
    return json.loads(call(command, cwd))
