"""The configuration of a job: defaults, over them ``REACTORCIDE_*``, over them what is said here."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from . import runner


class Config(Dict[str, Any]):
    """Resolved values, as items and as attributes; ``origin(key)`` says where one came from."""

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Any], problems: List[Dict[str, str]]) -> None:
        super().__init__(values)
        self.origins = dict(origins)
        #: What is wrong with it.
        self.problems = problems

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def origin(self, key: str) -> Any:
        """Where a value came from."""
        return self.origins.get(key)


def get_config(**values: Any) -> Config:
    """Resolves a configuration. The keywords are the settings of a job: ``job_command``, ``source_type``,
    ``source_url``, ``source_ref``, ``ci_source_type``, ``ci_source_url``, ``ci_source_ref``, ``git_url``, ``git_ref``,
    ``job_env`` (text or a mapping), ``code_dir``, ``job_dir``, ``timeout``, ``name``.
    """
    arguments: List[str] = []
    for key, value in values.items():
        if value is None:
            continue
        pairs = [f"{name}={text}" for name, text in value.items()] if isinstance(value, Mapping) else [str(value)]
        arguments += [f"--{key.replace('_', '-')}={pair}" for pair in pairs]
    shown = runner.call_json(["config", *arguments])
    settings = shown["config"]
    return Config(
        {key: setting["value"] for key, setting in settings.items()},
        {key: setting["origin"] for key, setting in settings.items()},
        shown["problems"],
    )
