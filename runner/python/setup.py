"""The wheel carries the runner's program where ``REACTORCIDE_RUNNER_BINARY`` names one; everything else is in pyproject.toml."""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.dist import Distribution

BINARY = os.environ.get("REACTORCIDE_RUNNER_BINARY")
PLACE = Path(__file__).parent / "src" / "runnerlib" / "bin" / "reactorcide-runner"


class WithProgram(Distribution):
    """A wheel with a program in it is for one platform."""

    def has_ext_modules(self):
        return bool(BINARY)


if BINARY:
    PLACE.parent.mkdir(exist_ok=True)
    shutil.copyfile(BINARY, PLACE)
    PLACE.chmod(0o755)

setup(distclass=WithProgram)
