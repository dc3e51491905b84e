"""Hooks: code that is called at each phase of a job."""

from __future__ import annotations

import sys
import time
import traceback
from enum import Enum
from typing import Any, Dict, List, Optional


class PluginPhase(Enum):
    """When hooks are called, in this order; ``ON_ERROR`` only where something failed, ``CLEANUP`` always."""

    PRE_VALIDATION = "pre_validation"
    POST_VALIDATION = "post_validation"
    PRE_SOURCE_PREP = "pre_source_prep"
    POST_SOURCE_PREP = "post_source_prep"
    PRE_EXECUTION = "pre_execution"
    POST_EXECUTION = "post_execution"
    ON_ERROR = "on_error"
    CLEANUP = "cleanup"
    # The names of old.
    PRE_CONTAINER = "pre_execution"
    POST_CONTAINER = "post_execution"


class PluginContext:
    """What a hook sees, and may change: ``config`` and ``environment`` count from then on, ``metadata`` is for plugins."""

    def __init__(
        self,
        config: Optional[Dict[str, Any]] = None,
        environment: Optional[Dict[str, str]] = None,
        exit_code: Optional[int] = None,
        error: Optional[str] = None,
        metadata: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.config: Dict[str, Any] = config if config is not None else {}
        self.environment: Dict[str, str] = environment if environment is not None else {}
        self.exit_code = exit_code
        self.error = error
        self.metadata: Dict[str, Any] = metadata if metadata is not None else {}
        #: The phase that goes on.
        self.phase: Optional[PluginPhase] = None

    @property
    def env(self) -> Dict[str, str]:
        """The same as ``environment``."""
        return self.environment


class Plugin:
    """A plugin: a subclass has a method for each phase that it is called in, named like the phase.

    Those of lower ``priority`` are called first.
    """

    def __init__(self, name: str = "", priority: int = 100) -> None:
        self.name = name or type(self).__name__
        self.priority = priority

    def supported_phases(self) -> List[PluginPhase]:
        """The phases that it is called in: all that it has a method for, unless a subclass says otherwise."""
        return [phase for phase in PluginPhase if hasattr(self, phase.value) or _old_name(self, phase)]

    def execute(self, phase: PluginPhase, context: PluginContext) -> None:
        """Calls the method of a phase."""
        method = getattr(self, phase.value, None) or _old_name(self, phase)
        if method is not None:
            method(context)


def _old_name(plugin: Plugin, phase: PluginPhase) -> Any:
    old = {"pre_execution": "pre_container", "post_execution": "post_container"}.get(phase.value)
    return getattr(plugin, old, None) if old else None


class Timing:
    """How long a hook took."""

    def __init__(self, plugin: str, phase: PluginPhase, seconds: float) -> None:
        self.plugin, self.phase, self.seconds = plugin, phase, seconds


class PluginManager:
    """The plugins that were registered, in order of priority."""

    def __init__(self) -> None:
        self.plugins: List[Plugin] = []
        self.timings: List[Timing] = []
        #: How many hooks failed.
        self.failures = 0
        #: What they failed with, since it was last taken.
        self.errors: List[Dict[str, str]] = []

    def register(self, plugin: Plugin) -> None:
        """Adds a plugin; one of the same name takes the place of the other."""
        if not isinstance(plugin, Plugin):
            raise TypeError(f"{plugin!r} is not a Plugin")
        self.plugins = [other for other in self.plugins if other.name != plugin.name]
        self.plugins.append(plugin)
        self.plugins.sort(key=lambda one: one.priority)

    def run(self, phase: PluginPhase, context: PluginContext) -> None:
        """Calls the hooks of a phase. One that fails is reported and counted; the others are called all the same."""
        context.phase = phase
        for plugin in list(self.plugins):
            begun = time.perf_counter()
            try:
                if phase not in plugin.supported_phases():
                    continue
                plugin.execute(phase, context)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # A plugin that exits must not take the job with it.
                self.failures += 1
                self.errors.append({"plugin": plugin.name, "error": f"{type(error).__name__}: {error}"})
                print(f"plugin {plugin.name} failed in {phase.value}:", file=sys.stderr)
                traceback.print_exc()
            self.timings.append(Timing(plugin.name, phase, time.perf_counter() - begun))


#: The plugins of this process.
manager = PluginManager()


def register_plugin(plugin: Plugin) -> None:
    """Adds a plugin to those that are called."""
    manager.register(plugin)
