"""The wheel carries the runner's program where ``REACTORCIDE_RUNNER_BINARY`` names one; everything else is in pyproject.toml."""

import os
import shutil
from pathlib import Path

from setuptools import setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70
    from wheel.bdist_wheel import bdist_wheel

BINARY = os.environ.get("REACTORCIDE_RUNNER_BINARY")
PLACE = Path(__file__).parent / "src" / "runnerlib" / "bin" / "reactorcide-runner"


class ForOnePlatform(bdist_wheel):
    """Any Python of one platform: the program is static and knows nothing of Python."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = not BINARY

    def get_tag(self):
        _, _, platform = super().get_tag()
        return "py3", "none", platform


if BINARY:
    PLACE.parent.mkdir(exist_ok=True)
    shutil.copyfile(BINARY, PLACE)
    PLACE.chmod(0o755)

setup(cmdclass={"bdist_wheel": ForOnePlatform})
