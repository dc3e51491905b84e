"""Questions about the repository of the code under test."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from . import runner


def _at(directory: Optional[str]) -> List[str]:
    return ["-C", directory] if directory else []


def info(directory: Optional[str] = None) -> Dict[str, Any]:
    """Branch, commit, tag, author, date, subject, remote, and whether there are changes."""
    return dict(runner.call_json(["git", "info", *_at(directory)]))


def files_changed(since: str, directory: Optional[str] = None) -> List[str]:
    """Files that differ from where the current commit and ``since`` parted, uncommitted and new ones included."""
    return list(runner.call_json(["git", "files-changed", f"--since={since}", *_at(directory)]))


def commits(since: str, directory: Optional[str] = None) -> List[Dict[str, str]]:
    """Commits after ``since``, newest first."""
    return list(runner.call_json(["git", "commits", f"--since={since}", *_at(directory)]))


def tags(directory: Optional[str] = None) -> List[str]:
    """Tags, newest first."""
    return list(runner.call_json(["git", "tags", *_at(directory)]))


#: The names of old.
get_info = info
get_files_changed = files_changed
get_commits = commits
get_tags = tags
