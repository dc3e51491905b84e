"""The examples of the earlier system, as they were written. What they leave undefined is set up around them."""

CONDITIONAL = '''#!/usr/bin/env python3
import runnerlib
from runnerlib.workflow import Job, Step, trigger_jobs

# Define the job's steps
test_step = Step("test", command="pytest tests/")
build_step = Step("build", command="python setup.py bdist_wheel")

# Execute steps
runnerlib.run_step(test_step)

if test_step.success:
    runnerlib.run_step(build_step)

# Conditionally trigger next job
if build_step.success and runnerlib.env.branch == "main":
    # Check if there's already a deploy running
    if not runnerlib.check_deploy_in_progress():
        trigger_jobs([
            Job("deploy", env={"ARTIFACT": build_step.artifact_url})
        ])
    else:
        print("Deploy already in progress, skipping")
'''

CONVENIENCE = '''
import runnerlib
def trigger_deploy():
    print("deploying")

# Trigger follow-up jobs
runnerlib.trigger_job("deploy", env={"TARGET": "staging"})

# Check state
if runnerlib.is_job_running("deploy"):
    print("Deploy already in progress")

# Get previous job results
test_results = runnerlib.get_job_result("test")
if test_results["exit_code"] == 0:
    trigger_deploy()

# For local execution, log what should run next
runnerlib.log_next_job("deploy-staging", reason="tests passed")
'''

SCRIPT = '''#!/usr/bin/env python3
import runnerlib
from runnerlib.plugins import Plugin, PluginPhase, PluginContext

class CustomBuildPlugin(Plugin):
    def __init__(self):
        super().__init__("custom_build", priority=50)

    def supported_phases(self):
        return [PluginPhase.PRE_EXECUTION, PluginPhase.POST_EXECUTION]

    def pre_execution(self, context):
        # Custom setup before running tests
        print("Setting up custom build environment...")

    def post_execution(self, context):
        # Custom cleanup or reporting
        if context.exit_code == 0:
            print("Build succeeded! Uploading artifacts...")

# Register custom plugin
runnerlib.register_plugin(CustomBuildPlugin())

# Run the job with custom lifecycle
exit_code = runnerlib.run_job(
    command="make test && make build",
    source_dir="/job/src",
    artifacts_dir="/job/artifacts"
)
'''

JOB = '''
from runnerlib import Job
job = Job("test-and-build")
job.add_step("checkout", "git clone https://github.com/user/repo.git /job/src")
job.add_step("test", "pytest tests/", depends_on=["checkout"])
job.add_step("build", "python setup.py bdist_wheel", depends_on=["test"])
'''

TRIGGERS = '''
import runnerlib

# Trigger a single job
runnerlib.trigger_job(
    job_name="deploy-staging",
    env={"DEPLOY_TARGET": "staging", "ARTIFACT_URL": "s3://..."}
)

# Trigger multiple jobs
runnerlib.trigger_jobs([
    {"job_name": "build-linux", "env": {"PLATFORM": "linux"}},
    {"job_name": "build-macos", "env": {"PLATFORM": "macos"}},
])
'''

STATE = '''
import runnerlib
def trigger_deploy():
    print("deploying")

# Check if a job is already running
if runnerlib.is_job_running("deploy-production"):
    print("Deploy already in progress, skipping")
    exit(0)

# Get results from previous job in workflow
test_results = runnerlib.get_job_result("test")
if test_results["exit_code"] == 0:
    trigger_deploy()
'''

NEXT = '''
import runnerlib

# This logs to stdout in a format the user can see
runnerlib.log_next_job(
    "deploy-staging",
    reason="tests passed",
    depends_on=["test", "build"]
)
'''

SOURCES = '''
from runnerlib import get_config

# Strategy 1: No source preparation (pre-mounted or not needed)
config = get_config(
    job_command="echo 'hello'",
    source_type="none"  # or omit source_type entirely
)
assert not config.problems, config.problems

# Strategy 2: Git source (most common)
config = get_config(
    job_command="make test",
    source_type="git",
    source_url="https://github.com/user/repo.git",
    source_ref="main"
)
assert not config.problems, config.problems

# Strategy 3: Local directory copy
config = get_config(
    job_command="npm test",
    source_type="copy",
    source_url="/path/to/local/source"
)
assert not config.problems, config.problems

# Strategy 4: Dual source (trusted CI + untrusted PR code)
config = get_config(
    job_command="python /job/ci/run_tests.py",
    # Trusted CI code
    ci_source_type="git",
    ci_source_url="https://github.com/company/ci-scripts.git",
    ci_source_ref="main",
    # Untrusted PR code
    source_type="git",
    source_url="https://github.com/attacker/fork.git",
    source_ref="pr-branch"
)
assert not config.problems, config.problems
print(config.ci_source_ref, config.source_ref)
'''


def tools(tmp_path, **scripts):
    """Programs that the examples call."""
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return f"{directory}:/usr/local/bin:/usr/bin:/bin"


def answers(**states):
    """Answers of an orchestrator."""

    def answer(query):
        state = states.get(query.get("name", "").replace("-", "_"), {})
        return {"about": "job", "found": bool(state), "running": False, "outputs": {}, **state}

    return answer


def test_a_conditional_deploy(inside, tmp_path):
    path = tools(tmp_path, pytest="echo tested", python="echo artifact_url=s3://artifacts/1 >> $REACTORCIDE_OUTPUT; echo built")
    context = {"event": {"type": "push", "branch": "main"}}
    done = inside(CONDITIONAL, answers=answers(), context=context, environment={"PATH": path})
    assert done.out == "tested\nbuilt\n", done.err
    assert done.of("trigger")[0]["request"]["jobs"][0] == {
        "job_name": "deploy", "depends_on": [], "condition": "all_success", "env": {"ARTIFACT": "s3://artifacts/1"},
    }
    busy = inside(CONDITIONAL, answers=answers(deploy={"running": True}), context=context, environment={"PATH": path})
    assert busy.out.endswith("Deploy already in progress, skipping\n") and not busy.of("trigger")
    other = inside(CONDITIONAL, answers=answers(), context={"event": {"branch": "feature"}}, environment={"PATH": path})
    assert not other.of("trigger")


def test_a_conditional_deploy_on_a_laptop(alone, tmp_path):
    path = tools(tmp_path, pytest="echo tested", python="echo built")
    done = alone(CONDITIONAL, PATH=path, REACTORCIDE_BRANCH="main")
    assert done.out == "tested\nbuilt\n", done.err
    assert "→ deploy" in done.err


def test_convenience_functions(inside, alone):
    done = inside(CONVENIENCE, answers=answers(deploy={"running": True}, test={"exit_code": 0}))
    assert done.out == "Deploy already in progress\ndeploying\n", done.err
    assert [frame["job"] for frame in done.of("next")] == ["deploy-staging"]
    done = alone(CONVENIENCE)
    assert (done.code, done.out) == (0, ""), done.err
    assert "→ deploy\n" in done.err and "→ deploy-staging (tests passed)" in done.err


def test_a_script_with_a_plugin(inside, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Makefile").write_text("test:\n\t@echo tested\nbuild:\n\t@echo built in $(REACTORCIDE_ARTIFACTS_DIR)\n")
    # A job's directory is /job; here it is a directory of the test.
    done = inside(SCRIPT.replace("/job/src", str(tmp_path / "src")))
    assert done.out.splitlines() == [
        "Setting up custom build environment...", "tested", "built in /job/artifacts", "Build succeeded! Uploading artifacts...",
    ], done.err


def test_a_job_of_steps(alone):
    done = alone(JOB + "print([(step.name, step.depends_on) for step in job.steps])\n")
    assert done.out == "[('checkout', None), ('test', ['checkout']), ('build', ['test'])]\n"


def test_triggers(inside):
    done = inside(TRIGGERS)
    jobs = [job for frame in done.of("trigger") for job in frame["request"]["jobs"]]
    assert [(job["job_name"], job["env"]) for job in jobs] == [
        ("deploy-staging", {"DEPLOY_TARGET": "staging", "ARTIFACT_URL": "s3://..."}),
        ("build-linux", {"PLATFORM": "linux"}),
        ("build-macos", {"PLATFORM": "macos"}),
    ], done.err


def test_state_checks(inside):
    assert inside(STATE, answers=answers(deploy_production={"running": True})).out == "Deploy already in progress, skipping\n"
    assert inside(STATE, answers=answers(test={"exit_code": 0})).out == "deploying\n"


def test_what_runs_next(alone):
    assert "→ deploy-staging (waiting on: test, build) (tests passed)" in alone(NEXT).err


def test_sources(alone):
    done = alone(SOURCES)
    assert done.out == "main pr-branch\n", done.err
