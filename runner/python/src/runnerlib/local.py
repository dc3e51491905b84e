"""Job code on a laptop, with no runner around: what it asks for is collected and listed at the end."""

from __future__ import annotations

import atexit
import shlex
import sys
from typing import Any, Dict, List, Optional, Sequence

#: Variables and outputs that were set here.
vars: Dict[str, Any] = {}
outputs: Dict[str, Any] = {}
#: Names of jobs and steps that have run here.
done: List[str] = []

_following: List[Dict[str, Any]] = []
_registered = False


def announce(job_name: str, reason: Optional[str], depends_on: Sequence[str]) -> None:
    """A job that would run next."""
    _add({"job_name": job_name, "reason": reason, "depends_on": list(depends_on)})


def asked(job: Dict[str, Any]) -> None:
    """A job that was asked for."""
    _add(job)


def _add(job: Dict[str, Any]) -> None:
    global _registered
    _following.append(job)
    if not _registered:
        _registered = True
        atexit.register(_print)


def listing() -> str:
    """The list, and the exact command for each job."""
    lines = ["", "📋 Next jobs to run:"]
    for job in _following:
        lines.append(f"  → {job['job_name']}{_waiting(job)}")
    lines += ["", "Run the next job:"]
    lines += [f"  $ {_command(job)}" for job in _following]
    return "\n".join(lines) + "\n"


def _waiting(job: Dict[str, Any]) -> str:
    reason = f" ({job['reason']})" if job.get("reason") else ""
    names = job.get("depends_on") or []
    if not names:
        return reason
    complete = " - all complete" if all(name in done for name in names) else ""
    return f" (waiting on: {', '.join(names)}{complete}){reason}"


def _command(job: Dict[str, Any]) -> str:
    if job.get("command"):
        words = ["reactorcide", "run", "--image", job.get("image") or "IMAGE", "--job-command", job["command"]]
        for name, value in (job.get("env") or {}).items():
            words += ["--job-env", f"{name}={value}"]
    else:
        words = ["reactorcide", "run", "PIPELINE", "--job", job["job_name"]]
    return " ".join(shlex.quote(str(word)) for word in words)


def _print() -> None:
    sys.stdout.flush()
    sys.stderr.write(listing())
    sys.stderr.flush()
