"""Fixtures for schemathesis: before a request, what it is about is made to be there.

Half of the requests keep the path that was made up, so that what is not there is asked for as well.
"""

import atexit
import base64
import hashlib
import hmac
import json
import os
import random
import urllib.error
import urllib.parse
import urllib.request

import schemathesis

BASE = os.environ["REACTORCIDE_SERVER"]
TOKEN = os.environ["REACTORCIDE_TOKEN"]
NAMES = {"user": "fixture", "team": "fixtures", "service": "fixture-bot", "worker": "fixture-worker"}


def ask(method, path, body=None):
    """Asks the server; what it refuses is none of our business here."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data=data, method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as refused:
        refused.read()
        return None


def user():
    ask("POST", "/api/v1/users", {"username": NAMES["user"]})
    return NAMES["user"]


def team():
    ask("POST", "/api/v1/teams", {"name": NAMES["team"]})
    return NAMES["team"]


def service():
    ask("POST", "/api/v1/service-accounts", {"name": NAMES["service"]})
    return NAMES["service"]


def token():
    made = ask("POST", "/api/v1/tokens", {"name": "fixture", "owner": f"service:{service()}"})
    return made["id"] if made else "none"


def worker():
    """A worker that has registered: with a token of its own, as workers do."""
    global WORKER_TOKEN
    if not WORKER_TOKEN:
        made = ask("POST", "/api/v1/tokens", {"name": "fixture", "owner": f"worker:{NAMES['worker']}"})
        WORKER_TOKEN = made["secret"] if made else ""
    body = json.dumps({"slots": 0, "provider": "docker", "version": "0"}).encode()
    request = urllib.request.Request(BASE + "/worker/v1/register", data=body, method="POST")
    request.add_header("Authorization", f"Bearer {WORKER_TOKEN}")
    request.add_header("Content-Type", "application/json")
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as refused:
        refused.read()
        ask("POST", f"/api/v1/workers/{NAMES['worker']}/enable")
    return NAMES["worker"]


def as_worker(path, data, kind):
    """Asks what only workers may; what is refused is none of our business here."""
    request = urllib.request.Request(BASE + path, data=data, method="POST")
    request.add_header("Authorization", f"Bearer {WORKER_TOKEN}")
    request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as refused:
        refused.read()
        return None


def cache():
    """A cache, as jobs leave them: kept under a lease."""
    worker()
    ask("POST", "/api/v1/runs", {"pipeline": "web/ci"})
    body = json.dumps({"max": 1, "wait_ms": 0}).encode()
    work = as_worker("/worker/v1/claim", body, "application/json")
    for lease in (work or {}).get("leases", []):
        key = f"made-{random.getrandbits(48):x}"
        query = urllib.parse.urlencode({**lease["id"], "kind": "cache", "name": key})
        as_worker("/worker/v1/keep?" + query, b"content", "application/octet-stream")
    page = ask("GET", "/api/v1/caches?limit=1")
    return page["items"][0]["id"] if page and page["items"] else "none"


def lease():
    """A job of a new run that the worker of the fixtures has, or nothing."""
    worker()
    ask("POST", "/api/v1/runs", {"pipeline": "web/ci"})
    body = json.dumps({"max": 1, "wait_ms": 0}).encode()
    work = as_worker("/worker/v1/claim", body, "application/json")
    leases = (work or {}).get("leases", [])
    return leases[0]["id"] if leases else None


def kept(of):
    """The run and the id of an artifact, kept under a lease."""
    if not of:
        return "none", "none"
    query = urllib.parse.urlencode({**of, "kind": "artifact", "name": f"made-{random.getrandbits(48):x}"})
    as_worker("/worker/v1/keep?" + query, b"content", "application/octet-stream")
    page = ask("GET", f"/api/v1/runs/{of['run']}/artifacts?limit=1")
    return of["run"], page["items"][0]["id"] if page and page["items"] else "none"


def job_token(of):
    """The token of the job that a lease is on, as its worker makes it."""
    named = f"{of['run']}\n{of['attempt']}\n{of['node']}".encode()
    proof = hmac.new(of["token"].encode(), b"reactorcide job token 1", hashlib.sha256)
    for part in (of["run"].encode(), of["node"].encode(), of["attempt"].to_bytes(4, "big")):
        proof.update(len(part).to_bytes(8, "big") + part)
    encoded = (base64.urlsafe_b64encode(data).rstrip(b"=").decode() for data in (named, proof.digest()))
    return "rcj_" + ".".join(encoded)


# What only jobs may ask.
BY_JOBS = ("getOwnRun", "getSibling", "getVars", "listOwnArtifacts", "getOwnArtifact", "keepArtifact", "trigger")
WORKER_TOKEN = ""


def run(operation):
    """A run in the state that an operation needs."""
    made = ask("POST", "/api/v1/runs", {"pipeline": "web/ci"})
    if not made:
        return "none"
    if operation in ("retryRun", "followRun"):
        ask("POST", f"/api/v1/runs/{made['id']}/cancel", {"force": True})
    return made["id"]


def secret():
    ask("POST", "/api/v1/secrets/deploy/versions", {"value": "f1xture-value"})
    return "deploy"


def data_key():
    """A data key that nothing uses any more."""
    secret()
    ask("POST", "/api/v1/secret-keys/rotate", {})
    keys = ask("GET", "/api/v1/secret-keys")
    free = [key["id"] for key in keys["keys"] if not key["current"] and not key["values"]] if keys else []
    return free[0] if free else "none"


def change():
    page = ask("GET", "/api/v1/changes?limit=1")
    return page["items"][0]["id"] if page and page["items"] else "none"


# Of requests that jobs make: the lease that their token is of.
LEASES = {}


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """An admin's token, or a job's where only jobs may ask."""

    def get(self, case, context):
        operation = case.operation.definition.raw.get("operationId", "")
        of = lease() if operation in BY_JOBS else None
        if not of:
            return TOKEN
        LEASES[id(case)] = of
        return job_token(of)

    def set(self, case, data, context):
        case.headers = {**dict(case.headers or {}), "Authorization": f"Bearer {data}"}


CONFIGURATION = {"all.yaml": open(os.environ["REACTORCIDE_FIXTURES"], encoding="utf-8").read()}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Half of the requests are about something that is there."""
    operation = case.operation.definition.raw.get("operationId", "")
    if random.random() < 0.5:
        return
    parts = dict(case.path_parameters or {})
    makers = {
        "user": user,
        "team": team,
        "service": service,
        "token": token,
        "worker": worker,
        "run": lambda: run(operation),
        "job": lambda: "build",
        "cache": cache,
        "change": change,
        "address": lambda: "Pipeline/web/ci",
        "project": lambda: "web",
        "schedule": lambda: "nightly",
        "secret": secret,
        "key": data_key,
    }
    of = LEASES.pop(id(case), None) or ("artifact" in parts and lease() or None)
    if "artifact" in parts:
        makers["run"], makers["artifact"] = (lambda made=made: made for made in kept(of))
    for name in parts:
        if name in makers:
            parts[name] = makers[name]()
    if parts:
        case.path_parameters = parts
    # Whether what was made up is valid is known by what it says, so that a body is only put in place of a valid one.
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    if operation == "startRun":
        case.body = {"pipeline": "web/ci"}
    elif operation == "testSecret":
        case.body = {"job": "web/ci/build"}
    elif operation == "setSecret":
        case.body = {"value": "f1xture-value"}
    elif operation == "sendEvent":
        case.body = {"project": "web", "branch": "main"}
    elif operation == "startJob" and isinstance(case.body, dict):
        case.body = {key: value for key, value in case.body.items() if key not in ("project", "job_env")}
    elif operation == "createTeam" and isinstance(case.body, dict):
        case.body = {"name": case.body.get("name"), "members": [user()]}
    elif operation == "createUser":
        case.body = {"username": f"made-{random.getrandbits(48):x}"}
    elif operation == "changeTeam":
        case.body = {"members": [user()]}
    elif operation == "createToken":
        case.body = {"name": "made", "owner": f"service:{service()}"}
    elif operation == "makePlan":
        case.body = {"files": CONFIGURATION}
    elif operation == "apply":
        plan = ask("POST", "/api/v1/plans", {"files": CONFIGURATION})
        if plan:
            case.body = {"files": CONFIGURATION, "expected_plan": plan["fingerprint"]}


ANSWERED = {}


@schemathesis.hook
def after_call(context, case, response):
    """Remembers which operations did what they are for."""
    operation = case.operation.definition.raw.get("operationId", "")
    done = 200 <= response.status_code < 300
    ANSWERED[operation] = ANSWERED.get(operation, False) or done


@atexit.register
def write_answered():
    path = os.environ.get("REACTORCIDE_ANSWERED")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(ANSWERED, file, indent=1, sort_keys=True)
