"""Steps and jobs: running the steps of this job, and asking for other jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from . import local, runner
from . import secrets as _secrets
from .plugins import PluginContext, PluginPhase, manager
from .protocol import ask, is_inside

Command = Union[str, Sequence[str]]

#: Seconds between SIGTERM and SIGKILL.
GRACE = 10.0


class Step:
    """One command of a job, and what came of it.

    ``command`` is text for a shell, or a list of a program and its arguments that no shell sees.
    """

    def __init__(
        self,
        name: str,
        command: Optional[Command] = None,
        *,
        run: Optional[Command] = None,
        depends_on: Optional[Sequence[str]] = None,
        parallel: bool = False,
        condition: str = "all_success",
        continue_on_error: bool = False,
        timeout: Optional[float] = None,
        retries: int = 0,
        env: Optional[Mapping[str, str]] = None,
        working_dir: Optional[str] = None,
    ) -> None:
        self.name = name
        self.command: Command = command if command is not None else (run if run is not None else "")
        self.depends_on = None if depends_on is None else list(depends_on)
        self.parallel = parallel
        self.condition = condition
        self.continue_on_error = continue_on_error
        self.timeout = timeout
        self.retries = retries
        self.env = dict(env or {})
        self.working_dir = working_dir
        #: How it ended; None before.
        self.exit_code: Optional[int] = None
        #: Whether it was skipped.
        self.skipped = False
        #: What it handed on.
        self.outputs: Dict[str, Any] = {}
        #: How long it took, in seconds.
        self.duration = 0.0

    @property
    def success(self) -> bool:
        """Whether it ran and succeeded."""
        return self.exit_code == 0

    @property
    def artifact_url(self) -> Optional[str]:
        """Where its artifact is: its output ``artifact_url``."""
        url = self.outputs.get("artifact_url")
        return None if url is None else str(url)

    def __repr__(self) -> str:
        return f"Step({self.name!r}, exit_code={self.exit_code})"


class Job:
    """A job: with steps, one that is run here; with a command, image or template, one that is asked for."""

    def __init__(
        self,
        name: str,
        *,
        env: Optional[Mapping[str, Any]] = None,
        depends_on: Sequence[str] = (),
        condition: str = "all_success",
        image: Optional[str] = None,
        command: Optional[str] = None,
        template: Optional[str] = None,
        parameters: Optional[Mapping[str, Any]] = None,
        for_each: Optional[Sequence[Any]] = None,
        item_var: Optional[str] = None,
        steps: Iterable[Step] = (),
    ) -> None:
        self.name = name
        self.env = dict(env or {})
        self.depends_on = list(depends_on)
        self.condition = condition
        self.image = image
        self.command = command
        self.template = template
        self.parameters = dict(parameters or {})
        self.for_each = None if for_each is None else list(for_each)
        self.item_var = item_var
        self.steps: List[Step] = list(steps)

    def add_step(self, name: str, command: Command, **options: Any) -> Step:
        """Adds a step; the options are those of :class:`Step`."""
        step = Step(name, command, **options)
        self.steps.append(step)
        return step

    def request(self) -> Dict[str, Any]:
        """The job as a trigger asks for it."""
        asked: Dict[str, Any] = {"job_name": self.name, "depends_on": self.depends_on, "condition": self.condition}
        asked["env"] = {key: str(value) for key, value in self.env.items() if value is not None}
        for key in ("image", "command", "template", "for_each", "item_var"):
            if getattr(self, key) is not None:
                asked[key] = getattr(self, key)
        if self.parameters:
            asked["parameters"] = self.parameters
        return asked


def trigger_job(job_name: str, env: Optional[Mapping[str, Any]] = None, **options: Any) -> None:
    """Asks for one more job in this run. The options are those of :class:`Job`, and ``operation_id``."""
    operation_id = options.pop("operation_id", None)
    trigger_jobs([Job(job_name, env=env, **options)], operation_id=operation_id)


def trigger_jobs(
    jobs: Iterable[Union[Job, Mapping[str, Any]]],
    *,
    vars: Optional[Mapping[str, Any]] = None,
    operation_id: Optional[str] = None,
) -> None:
    """Asks for more jobs in this run, all or none of them. The same ``operation_id`` asks for them once."""
    asked = [job.request() if isinstance(job, Job) else dict(job) for job in jobs]
    for job in asked:
        job["env"] = {key: str(value) for key, value in (job.get("env") or {}).items() if value is not None}
    if is_inside():
        request: Dict[str, Any] = {"jobs": asked, "vars": dict(vars or {})}
        if operation_id:
            request["operation_id"] = operation_id
        ask("trigger", **request)
        return
    local.vars.update(vars or {})
    for job in asked:
        local.asked(job)


def run_step(step: Union[Step, str], command: Optional[Command] = None, **options: Any) -> Step:
    """Runs one step here and now, and returns it with what came of it."""
    if isinstance(step, str):
        step = Step(step, command, **options)
    begun = time.monotonic()
    for attempt in range(step.retries + 1):
        step.exit_code = _run(step)
        if step.exit_code == 0 or attempt == step.retries or _stopping.is_set():
            break
        print(f"step {step.name!r} exited with code {step.exit_code}; retry {attempt + 1} of {step.retries}", flush=True)
    step.duration = time.monotonic() - begun
    local.done.append(step.name)
    return step


def run_job(
    job: Union[Job, Command, None] = None,
    *,
    command: Optional[Command] = None,
    steps: Optional[Iterable[Step]] = None,
    name: str = "job",
    source_dir: Optional[str] = None,
    artifacts_dir: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    timeout: Optional[float] = None,
) -> int:
    """Runs a job here, with the hooks of every phase, and returns its exit code.

    A plugin may change the configuration (``job_command``, ``code_dir``) and the environment before the steps begin.
    A plugin that fails is reported and counted and stops nothing; CLEANUP always runs.
    """
    if isinstance(job, Job):
        name, all_steps, base = job.name, list(job.steps), dict(job.env)
        if not all_steps and job.command:
            all_steps = [Step(name, job.command)]
    else:
        text = command if command is not None else job
        all_steps = list(steps) if steps is not None else ([] if text is None else [Step(name, text, timeout=timeout)])
        base = {}
    base.update(env or {})
    if artifacts_dir:
        base.setdefault("REACTORCIDE_ARTIFACTS_DIR", artifacts_dir)
    single = len(all_steps) == 1
    config: Dict[str, Any] = {
        "job_command": all_steps[0].command if single else None,
        "code_dir": source_dir or os.environ.get("REACTORCIDE_CODE_DIR") or os.getcwd(),
        "job_dir": os.environ.get("REACTORCIDE_WORKSPACE") or os.getcwd(),
        "artifacts_dir": artifacts_dir,
        "timeout": timeout,
    }
    context = PluginContext(config=config, environment={key: str(value) for key, value in base.items()})
    run_hooks = manager.run
    previous = _catch_signals()
    try:
        run_hooks(PluginPhase.PRE_VALIDATION, context)
        problem = _problem(all_steps)
        if problem is None:
            for phase in (PluginPhase.POST_VALIDATION, PluginPhase.PRE_SOURCE_PREP, PluginPhase.POST_SOURCE_PREP, PluginPhase.PRE_EXECUTION):
                run_hooks(phase, context)
            if single and context.config.get("job_command") is not None:
                all_steps[0].command = context.config["job_command"]
            code = 143 if _stopping.is_set() else _run_all(all_steps, context)
        else:
            print(f"error: {problem}", file=sys.stderr, flush=True)
            context.error = problem
            code = 78
        context.exit_code = code
        if problem is None:
            run_hooks(PluginPhase.POST_EXECUTION, context)
        if code != 0:
            context.error = context.error or f"job {name!r} exited with code {code}"
            run_hooks(PluginPhase.ON_ERROR, context)
    finally:
        run_hooks(PluginPhase.CLEANUP, context)
        _restore_signals(previous)
    if manager.failures:
        print(f"{manager.failures} hooks of plugins failed", file=sys.stderr, flush=True)
    local.done.append(name)
    return 143 if _stopping.is_set() else code


def _problem(steps: List[Step]) -> Optional[str]:
    if not steps or any(not step.command for step in steps):
        return "there is nothing to run: give a command or steps"
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        return "two steps have the same name"
    for step in steps:
        for dependency in step.depends_on or []:
            if dependency not in names:
                return f"step {step.name!r} waits for {dependency!r}, which is not a step of this job"
    return "steps wait for each other in a circle" if len(_order(steps)) != len(steps) else None


def _dependencies(steps: List[Step]) -> Dict[str, List[str]]:
    """What each step waits for: what it says; else all earlier ones, or for a parallel one the last that is not."""
    found: Dict[str, List[str]] = {}
    for index, step in enumerate(steps):
        if step.depends_on is not None:
            found[step.name] = step.depends_on
        elif step.parallel:
            before = [other.name for other in steps[:index] if not other.parallel]
            found[step.name] = before[-1:]
        else:
            found[step.name] = [other.name for other in steps[:index]]
    return found


def _order(steps: List[Step]) -> List[str]:
    waits, order = _dependencies(steps), []  # type: ignore[var-annotated]
    while True:
        ready = [name for name, needed in waits.items() if name not in order and all(one in order for one in needed)]
        if not ready:
            return order
        order.extend(ready)


def _run_all(steps: List[Step], context: PluginContext) -> int:
    waits = _dependencies(steps)
    ended: Dict[str, bool] = {}
    failed_before: Dict[str, bool] = {}
    lock = threading.Condition()
    deciding: List[int] = []

    def go(step: Step) -> None:
        step.env = {**context.environment, **step.env}
        step.working_dir = step.working_dir or context.config.get("code_dir")
        run_step(step)
        with lock:
            failed = not step.success and not step.continue_on_error
            if failed:
                deciding.append(step.exit_code or 1)
            ended[step.name] = True
            failed_before[step.name] = failed or failed_before[step.name]
            lock.notify_all()

    threads: List[threading.Thread] = []
    pending = list(steps)
    with lock:
        while pending:
            ready = [step for step in pending if all(name in ended for name in waits[step.name])]
            if not ready:
                lock.wait(0.2)
                continue
            for step in ready:
                pending.remove(step)
                failed = any(failed_before[name] for name in waits[step.name])
                failed_before[step.name] = failed
                wanted = {"all_success": not failed, "any_failed": failed, "always": True}.get(step.condition, not failed)
                if not wanted or _stopping.is_set():
                    step.skipped = True
                    ended[step.name] = True
                    continue
                thread = threading.Thread(target=go, args=(step,), name=step.name, daemon=True)
                threads.append(thread)
                thread.start()
        while len(ended) < len(steps):
            lock.wait(0.2)
    for thread in threads:
        thread.join()
    return deciding[0] if deciding else 0


# ---- one step -------------------------------------------------------------------------------------------------------

_stopping = threading.Event()
_children: Dict[int, "subprocess.Popen[bytes]"] = {}
_children_lock = threading.Lock()


def _run(step: Step) -> int:
    return _run_inside(step) if is_inside() else _run_outside(step)


def _words(command: Command) -> List[str]:
    return ["sh", "-e", "-c", command] if isinstance(command, str) else [str(word) for word in command]


def _run_inside(step: Step) -> int:
    """The runner around us masks and frames what the step prints."""
    environment = {**os.environ, **{key: str(value) for key, value in step.env.items()}}
    outputs = _outputs_file()
    if outputs:
        environment["REACTORCIDE_OUTPUT"] = environment["RC_WF_OUTPUT_FILE"] = outputs
    sys.stdout.flush()
    try:
        child = subprocess.Popen(_words(step.command), env=environment, cwd=step.working_dir, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"step {step.name!r} cannot be started: {error}", file=sys.stderr, flush=True)
        return 127
    code = _await(child, step.timeout)
    if outputs:
        step.outputs = _read_outputs(outputs)
        if step.outputs:
            ask("output", values=step.outputs, step=os.environ.get("REACTORCIDE_STEP"))
    return code


def _await(child: "subprocess.Popen[bytes]", timeout: Optional[float]) -> int:
    with _children_lock:
        _children[child.pid] = child
    try:
        code = child.wait(timeout)
    except subprocess.TimeoutExpired:
        print(f"the step ran out of time ({timeout} s)", file=sys.stderr, flush=True)
        _end(child)
        return 124
    finally:
        with _children_lock:
            _children.pop(child.pid, None)
    return 128 - code if code < 0 else code


def _end(child: "subprocess.Popen[bytes]") -> None:
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(child.pid, number)
            child.wait(patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _outputs_file() -> Optional[str]:
    own = os.environ.get("REACTORCIDE_OUTPUT")
    return None if not own else os.path.join(os.path.dirname(own), f"step-{uuid.uuid4().hex}")


def _read_outputs(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(256 * 1024)
        os.unlink(path)
    except (OSError, UnicodeDecodeError):
        return {}
    return parse_outputs(text)


def parse_outputs(text: str) -> Dict[str, Any]:
    """Reads an outputs file: one JSON object, or lines ``KEY=VALUE`` and ``KEY<<END``."""
    if text.lstrip().startswith("{"):
        value = json.loads(text)
        return value if isinstance(value, dict) else {}
    outputs: Dict[str, Any] = {}
    lines = iter(text.splitlines())
    for line in lines:
        key, equals, value = line.partition("=")
        head, heredoc, end = line.partition("<<")
        if heredoc and (not equals or len(head) < len(key)):
            body: List[str] = []
            for inner in lines:
                if inner == end.strip():
                    break
                body.append(inner)
            outputs[head.strip()] = "\n".join(body)
        elif equals:
            outputs[key.strip()] = value
    return outputs


def _run_outside(step: Step) -> int:
    """No runner is around: one of our own runs the step, and masks what it prints."""
    command: Dict[str, Any] = {"script": step.command} if isinstance(step.command, str) else {"exec": _words(step.command)}
    here = step.working_dir or os.getcwd()
    workspace = tempfile.mkdtemp(prefix="reactorcide-")
    spec: Dict[str, Any] = {
        "v": 1, "run_id": "local", "job": step.name, "attempt": 1, "work": {"command": command},
        "environment": {key: str(value) for key, value in step.env.items()},
        "mask": [value for value in _secrets.registered if len(value.strip()) >= 4],
        "working_dir": os.path.abspath(here), "workspace": workspace,
        "grace_ms": int(GRACE * 1000), "context": {"vars": local.vars}, "python_path": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
    if step.timeout is not None:
        spec["timeout_ms"] = int(step.timeout * 1000)
    child = subprocess.Popen([runner.find(), "exec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(spec).encode() + b"\n")
    child.stdin.flush()
    with _children_lock:
        _children[child.pid] = child
    try:
        for line in child.stdout:
            _show(json.loads(line), step)
        code = child.wait()
    finally:
        with _children_lock:
            _children.pop(child.pid, None)
        child.stdin.close()
        shutil.rmtree(workspace, ignore_errors=True)
    return 128 - code if code < 0 else code


def _show(frame: Dict[str, Any], step: Step) -> None:
    kind = frame.get("type")
    if kind == "log":
        import base64

        data = frame["text"].encode() if "text" in frame else base64.b64decode(frame["base64"])
        stream = sys.stdout if frame.get("stream") == "stdout" else sys.stderr
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    elif kind == "output":
        step.outputs.update(frame.get("values") or {})
    elif kind == "trigger":
        request = frame.get("request") or {}
        local.vars.update(request.get("vars") or {})
        for job in request.get("jobs") or []:
            local.asked(job)
    elif kind == "next":
        local.announce(frame.get("job", ""), frame.get("reason"), frame.get("depends_on") or [])


# ---- signals --------------------------------------------------------------------------------------------------------


def _catch_signals() -> Dict[int, Any]:
    """A request to stop ends the steps; the hooks still run."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    _stopping.clear()
    previous: Dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, _stop)
    return previous


def _restore_signals(previous: Dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)


def _stop(number: int, _frame: Any) -> None:
    _stopping.set()

    def end() -> None:
        with _children_lock:
            children = list(_children.values())
        for child in children:
            _end(child)

    threading.Thread(target=end, daemon=True).start()
