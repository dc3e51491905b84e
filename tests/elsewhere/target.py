"""A system that holds objects, in a process of its own: what docs/webhook-targets.md asks for, with a log of what was
done and ways to misbehave. It prints its port.

PUT /_rule {"method", "number", "action", "pid_file"} makes the next requests misbehave: `kill_before` and `kill_after`
kill the process named in a file before or after the request takes effect, `slow` answers late, `fail` answers 500.
PUT and DELETE below /_behind/ change objects behind everybody's back. GET /_log gives what was done, and forgets it.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = sys.argv[1] if len(sys.argv) > 1 else None
LOCK = threading.Lock()
OBJECTS = {}
LOG = []
RULE = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=None, etag=None):
        text = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if etag is not None:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(text)

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        return json.loads(self.rfile.read(length) or b"null")

    def handle_all(self):
        body = self.body()
        if self.path.startswith("/_"):
            return self.control(body)
        action = self.rule()
        if action == "fail":
            return self.answer(500, {"error": "out of order", "sent": self.headers.get("Authorization")})
        if action == "kill_before":
            self.kill()
        if action == "slow":
            time.sleep(RULE["seconds"])
        status, answer, etag = self.act(body)
        if action == "kill_after":
            self.kill()
        self.answer(status, answer, etag)

    do_GET = do_PUT = do_DELETE = handle_all

    def rule(self):
        """What the rule says of this request, if it is the one."""
        with LOCK:
            if RULE.get("method") not in (self.command, "ANY"):
                return None
            RULE["number"] -= 1
            return RULE["action"] if RULE["number"] == 0 or RULE.get("always") else None

    def kill(self):
        with open(RULE["pid_file"], encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    def act(self, body):
        if TOKEN and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "who are you?"}, None
        with LOCK:
            version, present = OBJECTS.get(self.path, (0, None))
            if self.command == "GET":
                return (404, {}, None) if present is None else (200, present, version)
            if self.command == "DELETE":
                LOG.append(f"delete {self.path}")
                OBJECTS.pop(self.path, None)
                return (204, None, None) if present is not None else (404, {}, None)
            wanted = self.headers.get("If-Match")
            if self.headers.get("If-None-Match") == "*" and present is not None:
                return 412, {}, None
            if wanted is not None and wanted != f'"{version}"':
                return 412, {}, None
            if "wrong" in body:
                return 422, {"error": "wrong is not a field"}, None
            LOG.append(f"{'create' if present is None else 'replace'} {self.path}")
            OBJECTS[self.path] = (version + 1, {**body, "id": self.path.rsplit("/", 1)[1]})
            return 200, {}, version + 1

    def control(self, body):
        with LOCK:
            if self.path == "/_log":
                answer, LOG[:] = list(LOG), []
                return self.answer(200, {"log": answer, "objects": {k: v[1] for k, v in OBJECTS.items()}})
            if self.path == "/_rule":
                RULE.clear()
                RULE.update(body or {})
            elif self.command == "DELETE":
                OBJECTS.pop(self.path.removeprefix("/_behind"), None)
            else:
                path = self.path.removeprefix("/_behind")
                OBJECTS[path] = (OBJECTS.get(path, (0, None))[0] + 1, body)
            self.answer(200, {})


ThreadingHTTPServer.handle_error = lambda *arguments: None
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
