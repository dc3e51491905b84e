"""The socket of the runner: one request, one answer.

A message is four bytes, big-endian, that say how long it is, and one JSON object.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any, Dict, Optional

#: The variable that says where the socket is; it is set for every step of a job.
SOCKET_VARIABLE = "REACTORCIDE_SOCKET"

_ANSWER_SECONDS = 40.0
_BUSY_SECONDS = 10.0


class RunnerError(Exception):
    """The runner refused a request, or cannot be reached.

    ``code`` is a word for programs: ``bad_request``, ``too_large``, ``too_many``, ``rate``, ``secret``, ``name``,
    ``conflict``, ``unavailable``, ``busy``, or ``unreachable`` where there is no runner at all.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_inside() -> bool:
    """Whether a runner is around this process."""
    return bool(os.environ.get(SOCKET_VARIABLE))


def ask(action: str, **fields: Any) -> Dict[str, Any]:
    """Sends a request and returns the answer; raises :class:`RunnerError` for a refusal."""
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise RunnerError("unreachable", f"there is no runner around this: {SOCKET_VARIABLE} is not set")
    request = json.dumps({"action": action, **fields}).encode()
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        answer = _exchange(path, request)
        if answer.get("ok") is True:
            return answer
        code = str(answer.get("code", "bad_request"))
        if code != "busy" or time.monotonic() > deadline:
            raise RunnerError(code, str(answer.get("error", "the runner refused the request")))
        time.sleep(0.05)


def _exchange(path: str, request: bytes) -> Dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(path)
            try:
                connection.sendall(len(request).to_bytes(4, "big") + request)
            except BrokenPipeError:
                pass  # A busy runner answers before it reads.
            length = int.from_bytes(_receive(connection, 4), "big")
            answer = json.loads(_receive(connection, length))
    except (OSError, ValueError) as error:
        raise RunnerError("unreachable", f"the runner cannot be reached at {path}: {error}") from error
    if not isinstance(answer, dict):
        raise RunnerError("unreachable", "the runner's answer is no object")
    return answer


def _receive(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length > 0:
        part = connection.recv(min(length, 1 << 16))
        if not part:
            raise OSError("it closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def context() -> Dict[str, Any]:
    """The event, vars, needs and inputs of the run; empty where there is no runner."""
    if not is_inside():
        return {"event": {}, "vars": {}, "needs": {}, "inputs": {}}
    answer = ask("context")
    answer.pop("ok", None)
    return answer


def optional(value: Optional[str]) -> Optional[str]:
    """A text, or nothing where it is empty."""
    return value or None
