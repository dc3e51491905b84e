"""Writes docs/runnerlib.md from the docstrings; with --check it says whether the file is as they are."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent.parent / "docs" / "runnerlib.md"
sys.path.insert(0, str(HERE / "src"))

import runnerlib  # noqa: E402
from runnerlib import git, plugins, protocol, state, workflow  # noqa: E402

PARTS = [
    ("Steps and jobs", workflow, ["Step", "Job", "run_step", "run_job", "trigger_job", "trigger_jobs"]),
    ("The run", state, ["is_job_running", "get_job_result", "check_deploy_in_progress", "workflow_vars", "set_workflow_var", "set_workflow_output", "log_next_job", "Environment"]),
    ("Secrets", runnerlib.secrets, ["register_secret"]),
    ("Configuration", runnerlib.config, ["get_config", "Config"]),
    ("Hooks", plugins, ["Plugin", "PluginPhase", "PluginContext", "register_plugin"]),
    ("The repository", git, ["info", "files_changed", "commits", "tags"]),
    ("Errors", protocol, ["RunnerError"]),
]


def text_of(value: object) -> str:
    """The docstring, with code in the manner of Markdown."""
    text = inspect.getdoc(value) or ""
    return text.replace("``", "`").replace(":class:`", "`")


def signature(name: str, value: object) -> str:
    """How it is called."""
    try:
        shown = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    return f"{name}{shown}".replace("'", "")


def page() -> str:
    """The whole page."""
    lines = ["<!-- Written from the docstrings by runner/python/docs.py. -->", "", "# runnerlib", "", text_of(runnerlib), ""]
    lines += ["`runner/python/README.md` says how it is installed and what the names of the earlier system are here.", ""]
    for title, module, names in PARTS:
        lines += [f"## {title}", "", text_of(module), ""]
        for name in names:
            value = getattr(module, name)
            prefix = "git." if module is git else ""
            shown = f"class {name}" if inspect.isclass(value) and issubclass(value, (Exception, plugins.Enum)) else signature(prefix + name, value)
            lines += [f"### `{shown}`", "", text_of(value), ""]
            if inspect.isclass(value):
                lines += members(value)
    return "\n".join(lines).rstrip() + "\n"


def members(value: type) -> list[str]:
    """What a class offers beside its constructor."""
    lines = []
    for name, member in sorted(vars(value).items()):
        documented = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not (inspect.isfunction(documented) and documented.__doc__):
            continue
        shown = name if isinstance(member, property) else signature(name, member).replace("(self, ", "(").replace("(self)", "()")
        lines.append(f"- `{shown}`: {text_of(documented).splitlines()[0]}")
    return [*lines, ""] if lines else []


def main() -> int:
    """Writes or checks."""
    wanted = page()
    if "--check" not in sys.argv:
        TARGET.write_text(wanted)
        return 0
    if TARGET.exists() and TARGET.read_text() == wanted:
        return 0
    print(f"{TARGET} is not what the docstrings say: run runner/python/docs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
