"""The socket, against a fake one."""

import pytest

import runnerlib
from runnerlib import protocol


def test_requests_are_framed_and_answers_read(fake):
    fake.answers = [{"ok": True, "vars": {"a": [1]}}]
    assert runnerlib.workflow_vars() == {"a": [1]}
    runnerlib.set_workflow_var("k", {"x": None})
    runnerlib.set_workflow_output("o", "ä")
    runnerlib.register_secret("s3cret-value", "")
    assert fake.asked == [
        {"action": "vars"},
        {"action": "set_vars", "values": {"k": {"x": None}}},
        {"action": "output", "values": {"o": "ä"}, "step": None},
        {"action": "register", "secrets": ["s3cret-value"]},
    ]


def test_a_refusal_is_an_exception_with_its_code(fake):
    fake.answers = [{"ok": False, "code": "too_many", "error": "it asks for too much"}]
    with pytest.raises(runnerlib.RunnerError, match="too much") as caught:
        runnerlib.trigger_job("deploy")
    assert caught.value.code == "too_many"


def test_a_busy_runner_is_asked_again(fake):
    fake.answers = [{"ok": False, "code": "busy", "error": "later"}, {"ok": True}]
    runnerlib.log_next_job("deploy", reason="tests passed", depends_on=["test"])
    assert len(fake.asked) == 2
    assert fake.asked[1] == {"action": "next", "job": "deploy", "reason": "tests passed", "depends_on": ["test"]}


def test_triggers_in_every_form(fake):
    runnerlib.trigger_job("deploy", env={"TARGET": "staging", "N": 3, "NONE": None}, depends_on=["build"], operation_id="o1")
    runnerlib.trigger_jobs([{"job_name": "a", "env": {"P": "x"}}, runnerlib.Job("b", image="i", command="c", for_each=[1, 2], item_var="I")], vars={"v": 1})
    assert fake.asked[0] == {
        "action": "trigger", "operation_id": "o1", "vars": {},
        "jobs": [{"job_name": "deploy", "depends_on": ["build"], "condition": "all_success", "env": {"TARGET": "staging", "N": "3"}}],
    }
    assert fake.asked[1]["vars"] == {"v": 1}
    assert fake.asked[1]["jobs"][1] == {
        "job_name": "b", "depends_on": [], "condition": "all_success", "env": {}, "image": "i", "command": "c", "for_each": [1, 2], "item_var": "I",
    }


def test_questions_that_nobody_answers_are_no(fake):
    refused = {"ok": False, "code": "unavailable", "error": "nobody"}
    fake.answers = [refused, refused, {"ok": True, "found": True, "running": True, "state": "running"}]
    assert runnerlib.is_job_running("deploy") is False
    assert runnerlib.get_job_result("test") == {"found": False, "running": False, "state": None, "exit_code": None, "outputs": {}}
    assert runnerlib.check_deploy_in_progress() is True
    assert fake.asked[2] == {"action": "job", "name": "deploy"}


def test_no_runner_is_said(monkeypatch):
    monkeypatch.delenv("REACTORCIDE_SOCKET", raising=False)
    with pytest.raises(runnerlib.RunnerError, match="REACTORCIDE_SOCKET is not set"):
        protocol.ask("hello")
    monkeypatch.setenv("REACTORCIDE_SOCKET", "/nowhere")
    with pytest.raises(runnerlib.RunnerError, match="cannot be reached"):
        protocol.ask("hello")


def test_the_environment_of_the_run(fake, monkeypatch):
    fake.answers = [{"ok": True, "event": {"type": "push", "branch": "main"}, "vars": {}, "needs": {}, "inputs": {}}] * 4
    assert runnerlib.env.branch == "main"
    assert runnerlib.env.event["type"] == "push"
    monkeypatch.setenv("REACTORCIDE_RUN_ID", "r1")
    assert runnerlib.env.run_id == "r1"
    assert runnerlib.env.nothing_of_the_kind is None
    assert runnerlib.env.get("NOPE", "d") == "d" and "REACTORCIDE_RUN_ID" in runnerlib.env
