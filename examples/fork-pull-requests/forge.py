#!/usr/bin/env python3
"""A forge as small as it can be: serves git repositories by HTTP, and tells a server of Reactorcide what happens in them.

    forge.py init DIRECTORY            makes team/web.git, and mallory/web.git, a fork of it
    forge.py serve DIRECTORY PORT      serves them
    forge.py push SERVER DIRECTORY PORT                               says that main has a new commit
    forge.py pull-request SERVER DIRECTORY PORT NUMBER [--first-time] says that mallory proposes theirs

The last two sign with the secret in the variable WEB_HOOK. They print the ids of the runs that were started.
"""

import hashlib
import hmac
import http.server
import json
import os
import subprocess
import sys
import time
import urllib.request

TEST = 'echo "testing $(cat version)"; echo "the token is <${TOKEN-not here}>"\n'
EVIL = TEST + "cat .reactorcide/all.yaml; env | sort\n"
# What an outsider would like the pipeline to be.
PIPELINE = """apiVersion: reactorcide/v1
kind: SecretPolicy
metadata: {name: mine-now}
spec: {allow: [{secrets: ["**"], to: {project: web}, when: {origins: [fork]}}]}
"""


def git(directory, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def publish(root, name, files, start=None):
    """Makes a commit with these files in a repository, and returns it."""
    work = os.path.join(root, "work", name)
    bare = os.path.join(root, name)
    if not os.path.isdir(bare):
        os.makedirs(os.path.dirname(bare), exist_ok=True)
        git(root, "clone", "--bare", "--quiet", start, bare) if start else git(root, "init", "--bare", "--quiet", bare)
    if not os.path.isdir(work):
        git(root, "clone", "--quiet", bare, work)
    for path, content in files.items():
        os.makedirs(os.path.dirname(os.path.join(work, path)) or ".", exist_ok=True)
        with open(os.path.join(work, path), "w", encoding="utf-8") as file:
            file.write(content)
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "a change")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    return git(work, "rev-parse", "HEAD")


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes requests on to git, as a web server would."""

    def answer(self):
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        names = {"CONTENT_TYPE": "content-type", "HTTP_CONTENT_ENCODING": "content-encoding",
                 "GIT_PROTOCOL": "git-protocol"}
        environment = {
            **os.environ, "GIT_PROJECT_ROOT": self.server.root, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(length),
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            **{name: self.headers[header] for name, header in names.items() if self.headers[header]},
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value.split()[0] for name, value in headers if name == "Status"), "200")
        self.send_response(int(status))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def serve(root, port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.root = os.path.abspath(root)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def send(server, event):
    body = json.dumps(event).encode()
    now = str(int(time.time()))
    signed = hmac.new(os.environ["WEB_HOOK"].encode(), now.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Reactorcide-Timestamp": now,
               "X-Reactorcide-Signature": f"sha256={signed}"}
    request = urllib.request.Request(f"{server}/api/v1/hooks/web", body, headers)
    with urllib.request.urlopen(request) as answer:
        delivered = json.load(answer)
    for run in delivered["started"]:
        print(run["run"])
    for other in delivered["others"]:
        print(f"{other['pipeline']}: {'; '.join(other['reasons'])}", file=sys.stderr)


def main():
    command, *arguments = sys.argv[1:] or ["help"]
    if command == "init":
        root = os.path.abspath(arguments[0])
        os.makedirs(root, exist_ok=True)
        publish(root, "team/web.git", {"test.sh": TEST, "version": "1\n"})
        publish(root, "mallory/web.git", {"test.sh": EVIL, "version": "mallory's\n", ".reactorcide/all.yaml": PIPELINE},
                os.path.join(root, "team/web.git"))
    elif command == "serve":
        serve(arguments[0], int(arguments[1]))
    elif command in ("push", "pull-request"):
        server, root, port = arguments[:3]
        tip = lambda name: {"repository": f"http://127.0.0.1:{port}/{name}",
                            "sha": git(os.path.join(root, name), "rev-parse", "main")}
        base = tip("team/web.git")
        if command == "push":
            send(server, {"type": "push", "branch": "main", **base})
        else:
            head, fork = tip("mallory/web.git"), os.path.join(root, "mallory/web.git")
            git(fork, "fetch", "--quiet", os.path.join(root, "team/web.git"), "main")
            send(server, {
                "type": "pull_request", "branch": "main",
                "pull_request": {
                    "number": int(arguments[3]), "head": head, "base": base,
                    "author": {"user": "mallory", "first_time": "--first-time" in arguments},
                },
                "sender": {"user": "mallory", "first_time": "--first-time" in arguments},
                "changed_files": git(fork, "diff", "--name-only", f"{base['sha']}...{head['sha']}").splitlines(),
            })
    else:
        sys.exit(__doc__)


main()
