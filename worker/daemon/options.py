"""What a worker daemon is told, checked before anything is opened. Times in seconds, sizes in bytes."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luigi_ha.worker.client import Address, BadAddress, parse_addresses

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


class OptionError(Exception):
    """A mistake of whoever started the worker, in one line."""


@dataclass(frozen=True)
class Options:
    """One worker. docs/workers.md says what each is for."""

    scheduler_urls: list[str] = field(default_factory=lambda: ["http://localhost:8082"])
    modules: list[str] = field(default_factory=list)
    only_modules: list[str] = field(default_factory=list)
    workers: int = 1
    worker_id: str = ""
    state_dir: Path = Path("luigi-ha-worker")
    namespaces: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)
    memory_limit: int = 0  # of one task, all its processes; 0: none
    task_timeout: float = 0.0  # 0: none
    max_tasks: int = 0  # 0: no end
    lost_attempt: str = "finish"  # or stop
    drain_timeout: float = 0.0  # 0: as long as it takes
    kill_grace: float = 5.0  # between SIGTERM and SIGKILL
    poll_interval: float = 1.0
    ping_interval: float = 1.0
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    metrics_host: str = ""
    metrics_port: int | None = None
    log_format: str = "json"  # or keyvalue
    log_level: str = "info"
    log_output: bool = False
    output_limit: int = 1 << 20
    keep_logs: int = 1000
    unfenced: bool = False

    def __post_init__(self) -> None:
        """OptionError."""
        _at_least("workers", self.workers, 1)
        for name in ("memory_limit", "task_timeout", "max_tasks", "drain_timeout", "kill_grace"):
            _at_least(name, getattr(self, name), 0)
        for name in ("poll_interval", "ping_interval"):
            _at_least(name, getattr(self, name), 0.01)
        _at_least("output_limit", self.output_limit, 4096)
        _at_least("keep_logs", self.keep_logs, 1)
        _one_of("lost_attempt", self.lost_attempt, ("finish", "stop"))
        _one_of("log_format", self.log_format, ("json", "keyvalue"))
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        for name in ("token_file", "tls_ca", "tls_certificate", "tls_key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                raise OptionError(f"{name.replace('_', '-')}: {path} cannot be read")
        self.addresses  # noqa: B018 - checked

    @property
    def addresses(self) -> list[Address]:
        try:
            return parse_addresses(self.scheduler_urls)
        except BadAddress as error:
            raise OptionError(f"scheduler-url: {error}") from None


def size(text: str) -> int:
    """`512M`, `2GiB`, `1000000`. OptionError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise OptionError(f"{text!r} is no size: 512M, 2G or a number of bytes")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def port(text: str) -> int:
    """OptionError unless it is one."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise OptionError(f"metrics-port: {text!r} is no port; it must be a number up to 65535")
    return int(text)


def words(texts: list[str] | None) -> list[str]:
    """Values that may be repeated, or separated by commas."""
    return [word for text in texts or [] for word in text.replace(",", " ").split()]


def restriction(name: str, texts: list[str] | None, meant: Mapping[str, list[str]] | None = None) -> list[str]:
    """As `words`, of an option that restricts: an empty one is a mistake, not none. `meant`: what some words stand for.
    OptionError."""
    found = [one for word in words(texts) for one in (meant or {}).get(word, [word])]
    if texts and not found:
        raise OptionError(f"{name}: nothing is named, and that would restrict nothing; leave it out, or name some")
    return found


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise OptionError(f"{name.replace('_', '-')} is {value}; it must be at least {least}")


def _one_of(name: str, value: str, good: tuple[str, ...]) -> None:
    if value not in good:
        raise OptionError(f"{name.replace('_', '-')} is {value!r}; it must be one of {', '.join(good)}")
