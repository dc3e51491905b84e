"""Hooks: their order, their isolation, and what they may change."""

import json
import signal
import subprocess
import time

import pytest

from runnerlib.plugins import Plugin, PluginContext, PluginManager, PluginPhase


class Noting(Plugin):
    def __init__(self, name, priority, notes):
        super().__init__(name, priority=priority)
        self.notes = notes

    def pre_execution(self, context):
        self.notes.append(self.name)

    def cleanup(self, context):
        self.notes.append(f"{self.name} cleanup")


class Failing(Plugin):
    def __init__(self, error):
        super().__init__("failing", priority=1)
        self.error = error

    def supported_phases(self):
        return [PluginPhase.PRE_EXECUTION]

    def pre_execution(self, context):
        raise self.error


def test_hooks_are_called_in_order_of_priority_and_apart_from_each_other(capsys):
    for error in (ValueError("no"), SystemExit(3)):
        notes = []
        manager = PluginManager()
        manager.register(Noting("late", 90, notes))
        manager.register(Failing(error))
        manager.register(Noting("early", 10, notes))
        manager.run(PluginPhase.PRE_EXECUTION, PluginContext())
        manager.run(PluginPhase.CLEANUP, PluginContext())
        assert notes == ["early", "late", "early cleanup", "late cleanup"]
        assert manager.failures == 1
        assert {timing.plugin for timing in manager.timings} == {"early", "late", "failing"}
        assert all(timing.seconds >= 0 for timing in manager.timings)
        assert "plugin failing failed in pre_execution" in capsys.readouterr().err


def test_the_names_of_old_mean_the_same():
    assert PluginPhase.PRE_CONTAINER is PluginPhase.PRE_EXECUTION
    assert PluginPhase.POST_CONTAINER is PluginPhase.POST_EXECUTION
    assert [phase.value for phase in PluginPhase] == [
        "pre_validation", "post_validation", "pre_source_prep", "post_source_prep", "pre_execution", "post_execution", "on_error", "cleanup",
    ]

    class Old(Plugin):
        def pre_container(self, context):
            context.metadata["called"] = True

    manager, context = PluginManager(), PluginContext()
    manager.register(Old())
    manager.run(PluginPhase.PRE_EXECUTION, context)
    assert context.metadata == {"called": True}


def test_all_phases_run_in_order_with_a_real_job(alone):
    done = alone(
        """
import runnerlib
from runnerlib import Plugin, PluginPhase

class All(Plugin):
    def supported_phases(self):
        return list(PluginPhase)
    def execute(self, phase, context):
        print(phase.value, context.exit_code, flush=True)
        if phase is PluginPhase.PRE_EXECUTION:
            context.environment["ADDED"] = "yes"
            context.config["job_command"] = "echo changed $ADDED; exit 4"

runnerlib.register_plugin(All("all"))
print("code", runnerlib.run_job(command="echo original"))
"""
    )
    assert done.out.splitlines() == [
        "pre_validation None", "post_validation None", "pre_source_prep None", "post_source_prep None", "pre_execution None",
        "changed yes", "post_execution 4", "on_error 4", "cleanup 4", "code 4",
    ], done.err


PLUGIN = """
from runnerlib.plugins import Plugin

class Guard(Plugin):
    def __init__(self):
        super().__init__("guard", priority=5)
    def pre_execution(self, context):
        print("guarding", context.config["job"])
        context.environment["FROM_PLUGIN"] = "set"
        context.environment.pop("GONE", None)
    def post_execution(self, context):
        print("ended with", context.exit_code)
    def on_error(self, context):
        raise RuntimeError("it cannot be helped")
    def cleanup(self, context):
        print("cleaned")
"""


def test_the_runner_calls_plugins_of_trusted_code(inside, tmp_path):
    directory = tmp_path / "ci" / ".reactorcide" / "plugins"
    directory.mkdir(parents=True)
    (directory / "plugin_guard.py").write_text(PLUGIN)
    (directory / "plugin_broken.py").write_text("raise ImportError('not here')")
    (directory / "other.py").write_text("raise SystemExit(1)")
    (directory / "plugin_link.py").symlink_to("/etc/passwd")
    done = inside(
        "import os; print(os.environ.get('FROM_PLUGIN'), os.environ.get('GONE')); raise SystemExit(2)",
        plugins=str(directory), environment={"GONE": "here"},
    )
    assert done.out == "set None\n", done.err
    assert done.code == 2
    for text in (
        "plugins: guard", "plugin plugin_broken.py failed when it was loaded: ImportError: not here", "guarding ci", "ended with 2",
        "plugin guard failed in on_error: RuntimeError: it cannot be helped", "cleaned", "hook guard pre_execution: ",
    ):
        assert text in done.err, (text, done.err)


def test_plugins_that_cannot_run_keep_the_job_from_running(inside, tmp_path):
    directory = tmp_path / "plugins"
    directory.mkdir()
    (directory / "plugin_x.py").write_text("import os; os._exit(1)")
    done = inside("print('ran')", plugins=str(directory))
    assert (done.code, done.out) == (78, "")
    assert "cannot be run" in done.of("result")[0]["reason"]
    (directory / "plugin_x.py").write_text(
        "import os\nfrom runnerlib import Plugin\nclass X(Plugin):\n    def pre_execution(self, context):\n        os._exit(1)\n"
    )
    done = inside("print('ran')", plugins=str(directory))
    assert (done.code, done.out) == (78, ""), "a guard that dies lets nothing through"


@pytest.mark.parametrize("phase", ["pre_validation", "post_validation", "pre_source_prep", "post_source_prep", "pre_execution", "post_execution", "on_error", "cleanup"])
def test_a_stop_in_any_phase_ends_the_job_and_leaves_nothing(runner, tmp_path, phase):
    directory = tmp_path / "plugins"
    directory.mkdir()
    (directory / "plugin_slow.py").write_text(
        f"""
import time
from pathlib import Path
from runnerlib import Plugin, PluginPhase
class Slow(Plugin):
    def supported_phases(self):
        return list(PluginPhase)
    def execute(self, phase, context):
        if phase.value == {phase!r}:
            Path("reached").touch()
            time.sleep(300)
"""
    )
    import conftest

    (tmp_path / "job").mkdir()
    spec = {
        "v": 1, "run_id": "r", "job": "j", "attempt": 1, "work": {"command": {"script": "exit 1"}}, "working_dir": str(tmp_path / "job"),
        "workspace": str(tmp_path / "job"), "grace_ms": 500, "plugins": str(directory), "python_path": conftest.SOURCE,
    }
    child = subprocess.Popen([runner, "exec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    child.stdin.write(json.dumps(spec).encode() + b"\n")
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while not (tmp_path / "reached").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    begun = time.monotonic()
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    frames = [json.loads(line) for line in out.splitlines()]
    assert frames[-1]["type"] == "result" and frames[-1]["outcome"] == "cancelled", (frames[-1], err)
    assert child.returncode == 143
    assert not list((tmp_path / "job").iterdir()), "nothing is left"
