"""Runs the plugins of trusted job code for the runner: ``python3 -m runnerlib.plugin_host DIRECTORY``.

The runner says one phase a line on standard input and gets one line back. What plugins print goes to standard error.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from typing import Any, Dict, List

from .plugins import Plugin, PluginContext, PluginPhase, manager


def load(directory: str) -> List[Dict[str, str]]:
    """Loads ``plugin_*.py``, in the order of their names; links are not followed. Returns what went wrong."""
    errors: List[Dict[str, str]] = []
    names = sorted(os.listdir(directory))
    for name in names:
        path = os.path.join(directory, name)
        if not (name.startswith("plugin_") and name.endswith(".py")) or os.path.islink(path) or not os.path.isfile(path):
            continue
        before = list(manager.plugins)
        try:
            spec = importlib.util.spec_from_file_location(name[:-3], path)
            if spec is None or spec.loader is None:
                raise ImportError("it cannot be loaded")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name[:-3]] = module
            spec.loader.exec_module(module)
            if manager.plugins == before:
                _register_classes(module)
        except BaseException as error:
            errors.append({"plugin": name, "error": f"{type(error).__name__}: {error}"})
    return errors


def _register_classes(module: Any) -> None:
    """A module that registers nothing offers its classes."""
    for _, value in sorted(inspect.getmembers(module, inspect.isclass)):
        if issubclass(value, Plugin) and value is not Plugin and value.__module__ == module.__name__:
            manager.register(value())


def serve(directory: str) -> int:
    """Serves the runner until it closes standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(value: Dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    errors = load(directory)
    plugins = [
        {"name": plugin.name, "priority": plugin.priority, "phases": [phase.value for phase in plugin.supported_phases()]}
        for plugin in manager.plugins
    ]
    say({"ready": True, "plugins": plugins, "errors": errors})
    metadata: Dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        given = asked.get("context") or {}
        config, environment = dict(given.get("config") or {}), dict(given.get("environment") or {})
        context = PluginContext(dict(config), dict(environment), given.get("exit_code"), given.get("error"), metadata)
        manager.errors.clear()
        manager.timings.clear()
        manager.run(PluginPhase(asked["phase"]), context)
        sys.stderr.flush()
        say(
            {
                "done": asked["phase"],
                "environment": {key: str(value) for key, value in context.environment.items() if environment.get(key) != value},
                "unset": [key for key in environment if key not in context.environment],
                "config": {key: value for key, value in context.config.items() if config.get(key) != value},
                "errors": list(manager.errors),
                "timings": [{"plugin": one.plugin, "ms": round(one.seconds * 1000, 3)} for one in manager.timings],
            }
        )
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
