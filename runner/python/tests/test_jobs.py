"""Steps and jobs, on a laptop and inside a job, with the real runner."""

import json
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture(params=["alone", "inside"])
def run(request):
    return request.getfixturevalue(request.param)


def test_steps_run_and_say_how_they_ended(run):
    done = run(
        """
import runnerlib
from runnerlib import Step
good = runnerlib.run_step(Step("good", command="echo artifact_url=s3://x >> $REACTORCIDE_OUTPUT; echo hi"))
bad = runnerlib.run_step("bad", "echo oops >&2; exit 3")
words = runnerlib.run_step("words", ["printf", "%s\\n", "a b"])
print(good.success, good.artifact_url, bad.success, bad.exit_code, words.duration > 0)
"""
    )
    assert done.out == "hi\na b\nTrue s3://x False 3 True\n", done.err
    assert "oops" in done.err


def test_a_job_keeps_the_order_of_its_steps(run):
    done = run(
        """
import runnerlib
job = runnerlib.Job("j")
job.add_step("one", "echo one")
job.add_step("p1", "echo parallel >> p", parallel=True)
job.add_step("p2", "echo parallel >> p", parallel=True)
job.add_step("both", "cat p; rm p", depends_on=["p1", "p2"])
job.add_step("bad", "exit 5", depends_on=["both"])
job.add_step("never", "echo never", depends_on=["bad"])
job.add_step("always", "echo always", depends_on=["bad"], condition="always")
job.add_step("after", "echo after failure", depends_on=["bad"], condition="any_failed")
print("code", runnerlib.run_job(job), [step.skipped for step in job.steps])
"""
    )
    lines = done.out.splitlines()
    assert lines[:3] == ["one", "parallel", "parallel"], done.err
    assert sorted(lines[3:5]) == ["after failure", "always"]
    assert lines[5] == "code 5 [False, False, False, False, False, True, False, False]"


def test_mistakes_are_said_before_anything_runs(alone):
    done = alone(
        """
import runnerlib
from runnerlib import Job, Step
def tried(*steps):
    return runnerlib.run_job(Job("j", steps=steps))
print(tried(), tried(Step("a", "x"), Step("a", "y")), tried(Step("a", "x", depends_on=["b"])),
      tried(Step("a", "x", depends_on=["b"]), Step("b", "x", depends_on=["a"])))
"""
    )
    assert done.out == "78 78 78 78\n"
    for text in ("nothing to run", "same name", "waits for 'b'", "in a circle"):
        assert text in done.err


def test_retries_and_timeouts(run):
    done = run(
        """
import runnerlib
step = runnerlib.run_step("flaky", "echo x >> runs; test $(wc -l < runs) -ge 3", retries=5)
slow = runnerlib.run_step("slow", "sleep 60", timeout=0.3)
print(step.success, open("runs").read().count("x"), slow.exit_code)
"""
    )
    assert done.out.endswith("True 3 124\n"), done.err


def test_secrets_are_masked_wherever_the_job_runs(run):
    done = run(
        """
import runnerlib
runnerlib.register_secret("pa55-word-1")
runnerlib.run_step("say", "echo pa55-word-1; echo pa55-word-1 >&2; echo pa55-word-1")
"""
    )
    assert done.out == "***\n***\n", done.err


def test_questions_inside_a_job(inside):
    def answers(query):
        if query["about"] == "vars":
            return {"about": "vars", "vars": {"a": 1}}
        return {"about": "job", "found": True, "running": query["name"] == "deploy", "state": "succeeded", "exit_code": 0, "outputs": {"k": "v"}}

    done = inside(
        """
import runnerlib
print(runnerlib.is_job_running("deploy"), runnerlib.is_job_running("test"), runnerlib.get_job_result("test")["outputs"], runnerlib.workflow_vars())
print(runnerlib.env.branch, runnerlib.env.event["type"])
runnerlib.set_workflow_var("b", 2)
runnerlib.set_workflow_output("image", "i:1")
runnerlib.trigger_job("next", env={"A": "b"})
""",
        answers=answers, context={"event": {"type": "push", "branch": "main"}, "vars": {"a": 0}},
    )
    assert done.out == "True False {'k': 'v'} {'a': 1}\nmain push\n", done.err
    requests = [frame["request"] for frame in done.of("trigger")]
    assert requests[0]["vars"] == {"b": 2}
    assert requests[1]["jobs"][0]["env"] == {"A": "b"}
    assert done.of("output")[0]["values"] == {"image": "i:1"}


def test_configuration_and_git(alone, tmp_path):
    for command in (["init", "-q", "-b", "main"], ["-c", "user.name=T", "-c", "user.email=t@x", "commit", "-q", "--allow-empty", "-m", "one"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    done = alone(
        """
import runnerlib
config = runnerlib.get_config(job_command="make", source_type="git", source_url="https://example.com/x.git", job_env={"A": "1"})
print(config.job_command, config["source_type"], config.timeout, config.origin("timeout"), config.problems, config["job_env.A"])
print(runnerlib.get_config(code_dir="../x").problems[1]["setting"])
info = runnerlib.git.info()
print(info["branch"], info["subject"], runnerlib.git.tags(), runnerlib.git.files_changed("HEAD"), len(runnerlib.git.commits("v1")), runnerlib.env.branch)
""",
        REACTORCIDE_TIMEOUT="30",
    )
    assert done.out.splitlines() == [
        "make git 30 {'environment': 'REACTORCIDE_TIMEOUT'} [] 1", "code_dir", "main one ['v1'] ['script.py'] 0 main",
    ], done.err


def test_what_follows_is_listed_once_at_the_end(alone):
    done = alone(
        """
import runnerlib
runnerlib.run_job(command="true", name="test")
runnerlib.trigger_job("deploy", depends_on=["test"])
runnerlib.trigger_jobs([{"job_name": "b", "image": "i:1", "command": "make b", "env": {"P": "x y"}}])
runnerlib.log_next_job("e2e", reason="tests passed", depends_on=["test", "deploy"])
print("end")
"""
    )
    assert done.out == "end\n"
    assert done.err.endswith(
        "📋 Next jobs to run:\n"
        "  → deploy (waiting on: test - all complete)\n"
        "  → b\n"
        "  → e2e (waiting on: test, deploy) (tests passed)\n"
        "\nRun the next job:\n"
        "  $ reactorcide run PIPELINE --job deploy\n"
        "  $ reactorcide run --image i:1 --job-command 'make b' --job-env 'P=x y'\n"
        "  $ reactorcide run PIPELINE --job e2e\n"
    ), done.err


def test_a_signal_ends_the_step_and_the_hooks_still_run(runner, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import runnerlib
class C(runnerlib.Plugin):
    def cleanup(self, context):
        print("cleaned", flush=True)
runnerlib.register_plugin(C())
raise SystemExit(runnerlib.run_job(command="trap 'echo ended; exit 1' TERM; touch ready; sleep 60 & wait"))
"""
    )
    import conftest
    import os

    clean = {key: value for key, value in os.environ.items() if not key.startswith("REACTORCIDE_")}
    child = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**clean, "PYTHONPATH": conftest.SOURCE, "REACTORCIDE_RUNNER": runner},
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=30)
    assert out == "ended\ncleaned\n"
    assert child.returncode == 143


def test_the_command_line_is_the_runners(runner, tmp_path):
    import conftest
    import os

    def call(*words, **more):
        return subprocess.run(
            [sys.executable, "-m", "runnerlib.cli", *words], cwd=tmp_path, capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": conftest.SOURCE, "REACTORCIDE_RUNNER": runner, **more},
        )

    subprocess.run("git init -q -b main repo && cd repo && echo hi > f && git add . && git -c user.name=T -c user.email=t@x commit -qm one", shell=True, check=True, cwd=tmp_path)
    done = call("run", "--on-host", "--git-url", "repo", "--git-ref", "main", "--job-command", "cat f; python3 -c 'import runnerlib; runnerlib.trigger_job(\"deploy\")'")
    assert done.stdout == "hi\n", done.stderr
    assert "→ deploy" in done.stderr
    assert call("config", "--job-command", "x").stdout.startswith("Configuration\n")
    assert call("validate", "--job-command", "x").stdout == "valid\n"
    assert call("git", "info", "-C", "repo").stdout.startswith("branch   main\n")
    assert call().stdout.startswith("Runs one job")
    refused = call("run", "--runner-image", "alpine:latest", "--job-command", "x")
    assert refused.returncode == 69 and "reactorcide in PATH" in refused.stderr
    other = tmp_path / "bin"
    other.mkdir()
    (other / "reactorcide").write_text("#!/bin/sh\necho \"$@\"\n")
    (other / "reactorcide").chmod(0o755)
    handed = call("run", "--runner-image", "alpine:latest", "--job-command", "x", PATH=f"{other}:/usr/bin:/bin")
    assert handed.stdout == "run --runner-image alpine:latest --job-command x\n"
    assert json.loads(call("config", "--job-command", "x", "--format", "json").stdout)["problems"] == []
