"""``python -m runnerlib.cli``: the runner's commands under the names of old.

Everything is done by ``reactorcide-runner``; with ``--runner-image`` by ``reactorcide``, which has containers.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import List, NoReturn, Optional

from . import runner
from .protocol import RunnerError


def main(arguments: Optional[List[str]] = None) -> NoReturn:
    """Carries a command out, and ends with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    in_container = any(word.split("=")[0] in ("--runner-image", "--image", "--workflow-file") for word in words)
    try:
        program = _reactorcide() if in_container and words[:1] in (["run"], ["run-job"]) else runner.find()
    except RunnerError as error:
        sys.stderr.write(f"runnerlib: {error}\n")
        sys.exit(69)
    os.environ.setdefault("REACTORCIDE_PYTHON", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.stdout.flush()
    os.execv(program, [program, *(words or ["--help"])])


def _reactorcide() -> str:
    found = shutil.which("reactorcide")
    if found is None:
        raise RunnerError("unreachable", "a job in a container of its own needs the program reactorcide in PATH")
    return found


if __name__ == "__main__":
    main()
