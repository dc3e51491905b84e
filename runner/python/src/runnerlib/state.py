"""Questions about the run, and values for it."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Sequence

from . import local
from .protocol import RunnerError, ask, context, is_inside


def is_job_running(name: str) -> bool:
    """Whether a job of this name is queued or running, in this run or in another one of the project.

    Where nobody can be asked (no orchestrator) nothing else runs, and the answer is no.
    """
    try:
        return bool(ask("job", name=name).get("running"))
    except RunnerError as error:
        if error.code in ("unavailable", "unreachable"):
            return False
        raise


def get_job_result(name: str) -> Dict[str, Any]:
    """What came of a job: ``found``, ``state``, ``exit_code``, ``reason`` and ``outputs``.

    Outputs are those of jobs that this one waited for. A job that nobody knows has ``found`` false and ``exit_code``
    None.
    """
    unknown: Dict[str, Any] = {"found": False, "running": False, "state": None, "exit_code": None, "outputs": {}}
    try:
        answer = ask("job", name=name)
    except RunnerError as error:
        if error.code in ("unavailable", "unreachable"):
            return unknown
        raise
    answer.pop("ok", None)
    return {**unknown, **answer}


def check_deploy_in_progress(name: Optional[str] = None) -> bool:
    """Whether a deploy goes on: a job called ``deploy``, or as ``name`` or ``$DEPLOY_JOB`` says."""
    return is_job_running(name or os.environ.get("DEPLOY_JOB") or "deploy")


def workflow_vars() -> Dict[str, Any]:
    """The run's variables as they are now."""
    if not is_inside():
        return dict(local.vars)
    return dict(ask("vars")["vars"])


def set_workflow_var(key: str, value: Any) -> None:
    """Sets a variable of the run. Another job that sets it to another value is an error that names both."""
    if is_inside():
        ask("set_vars", values={key: value})
    else:
        local.vars[key] = value


def set_workflow_output(key: str, value: Any) -> None:
    """Hands a value to later steps and jobs: ``needs.JOB.outputs.KEY``."""
    if is_inside():
        ask("output", values={key: value}, step=os.environ.get("REACTORCIDE_STEP"))
    else:
        local.outputs[key] = value


def log_next_job(job_name: str, reason: Optional[str] = None, depends_on: Sequence[str] = ()) -> None:
    """Says what would run next. It starts nothing; where nobody orchestrates it is listed at the end."""
    if is_inside():
        ask("next", job=job_name, reason=reason, depends_on=list(depends_on))
    else:
        local.announce(job_name, reason, depends_on)


class Environment:
    """What this job knows of its run: ``env.branch``, ``env.event``, ``env.sha``, ``env.get("NAME")``.

    An attribute is looked for in the event, then among the variables of the process by its name in upper case, with
    and without ``REACTORCIDE_`` in front. What is not there is None.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "event":
            return context()["event"] or None
        if name == "vars":
            return workflow_vars()
        event = context()["event"] or {}
        if isinstance(event, dict) and event.get(name) not in (None, ""):
            return event[name]
        for variable in (f"REACTORCIDE_{name.upper()}", name.upper()):
            if os.environ.get(variable):
                return os.environ[variable]
        if name == "branch":
            return _branch_here()
        return None

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        """A variable of the process."""
        return os.environ.get(name, default)

    def __getitem__(self, name: str) -> str:
        return os.environ[name]

    def __contains__(self, name: str) -> bool:
        return name in os.environ


def _branch_here() -> Optional[str]:
    from . import git

    try:
        return git.info().get("branch")
    except RunnerError:
        return None


#: The environment of this job.
env = Environment()
