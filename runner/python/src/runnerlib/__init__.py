"""What job code imports.

``runnerlib`` runs the steps of a job, calls hooks, masks secrets, asks for more jobs, and answers questions about the
run. Inside a job it talks to the runner around it; on a laptop it does the same alone, and lists at the end what would
run next.
"""

from __future__ import annotations

from . import git
from .config import Config, get_config
from .plugins import Plugin, PluginContext, PluginPhase, register_plugin
from .protocol import RunnerError
from .secrets import register_secret
from .state import (
    check_deploy_in_progress,
    env,
    get_job_result,
    is_job_running,
    log_next_job,
    set_workflow_output,
    set_workflow_var,
    workflow_vars,
)
from .workflow import Job, Step, run_job, run_step, trigger_job, trigger_jobs

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Job",
    "Plugin",
    "PluginContext",
    "PluginPhase",
    "RunnerError",
    "Step",
    "check_deploy_in_progress",
    "env",
    "get_config",
    "get_job_result",
    "git",
    "is_job_running",
    "log_next_job",
    "register_plugin",
    "register_secret",
    "run_job",
    "run_step",
    "set_workflow_output",
    "set_workflow_var",
    "trigger_job",
    "trigger_jobs",
    "workflow_vars",
]
