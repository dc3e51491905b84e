"""What tests share: the real runner, a fake socket, and scripts that run as job code does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

SOURCE = str(Path(__file__).parent.parent / "src")


@pytest.fixture(scope="session")
def runner() -> str:
    """The program; ``$REACTORCIDE_RUNNER`` names one, else the one that was built last."""
    root = Path(__file__).parents[3]
    built = [os.environ.get("REACTORCIDE_RUNNER", ""), str(root / "target/debug/reactorcide-runner")]
    found = next((path for path in built if path and os.path.exists(path)), None)
    assert found, "build the runner first: cargo build -p reactorcide-runner"
    return found


class Done:
    """A script that has run."""

    def __init__(self, code: int, out: str, err: str, frames: Optional[List[Dict[str, Any]]] = None) -> None:
        self.code, self.out, self.err, self.frames = code, out, err, frames or []

    def of(self, kind: str) -> List[Dict[str, Any]]:
        """The frames of a type."""
        return [frame for frame in self.frames if frame["type"] == kind]


@pytest.fixture
def alone(runner: str, tmp_path: Path) -> Callable[..., Done]:
    """Runs a script on the laptop: no runner around it."""

    def run(script: str, **environment: str) -> Done:
        path = tmp_path / "script.py"
        path.write_text(script)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("REACTORCIDE_", "RC_WF_"))}
        done = subprocess.run(
            [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**clean, "PYTHONPATH": SOURCE, "REACTORCIDE_RUNNER": runner, **environment},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def inside(runner: str, tmp_path: Path) -> Callable[..., Done]:
    """Runs a script as the command of a job, with the real runner around it."""

    def run(script: str, answers: Optional[Callable[[Dict[str, Any]], Dict[str, Any]]] = None, **spec: Any) -> Done:
        path = tmp_path / "script.py"
        path.write_text(script)
        whole = {
            "v": 1, "run_id": "run-1", "job": "ci", "attempt": 1, "work": {"command": {"exec": [sys.executable, str(path)]}},
            "working_dir": str(tmp_path), "workspace": str(tmp_path / "job"), "grace_ms": 2000, "python_path": SOURCE,
            "answers": answers is not None, **spec,
        }
        (tmp_path / "job").mkdir(exist_ok=True)
        child = subprocess.Popen(
            [runner, "exec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(json.dumps(whole).encode() + b"\n")
        child.stdin.flush()
        frames = []
        for line in child.stdout:
            frame = json.loads(line)
            frames.append(frame)
            if frame["type"] == "query" and answers:
                answer = {"type": "answer", "id": frame["id"], "answer": answers(frame["query"])}
                child.stdin.write(json.dumps(answer).encode() + b"\n")
                child.stdin.flush()
        text = {"stdout": "", "stderr": "", "system": ""}
        for frame in frames:
            if frame["type"] == "log":
                text[frame["stream"]] += frame.get("text", "")
        return Done(child.wait(timeout=120), text["stdout"], text["stderr"] + text["system"], frames)

    return run


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A socket that answers as a test says, and remembers what it was asked."""

    class Fake:
        def __init__(self) -> None:
            self.asked: List[Dict[str, Any]] = []
            self.answers: List[Dict[str, Any]] = []
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = str(tmp_path / "socket")
            self.listener.bind(path)
            self.listener.listen()
            monkeypatch.setenv("REACTORCIDE_SOCKET", path)
            threading.Thread(target=self.serve, daemon=True).start()

        def serve(self) -> None:
            while True:
                connection, _ = self.listener.accept()
                length = int.from_bytes(connection.recv(4), "big")
                self.asked.append(json.loads(connection.recv(length, socket.MSG_WAITALL)))
                answer = json.dumps(self.answers.pop(0) if self.answers else {"ok": True}).encode()
                connection.sendall(len(answer).to_bytes(4, "big") + answer)
                connection.close()

    return Fake()
