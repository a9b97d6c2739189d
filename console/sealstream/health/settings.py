"""The settings' section `[metrics]`: where each process serves its figures, and where `sealstream status` finds them.

    [metrics]
    host = "127.0.0.1"
    ports = { sequencer = 9464, checkpointing = 9465, postgres-sink = 9466, archive-sink = 9467 }

Pure: nothing is opened here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sealstream.layout.figures import ALL

__all__ = ["MetricsSection", "program_name"]

MAIN = "main"


class MetricsSection(BaseModel):
    """Where each process serves /metrics, /healthz and /readyz, and `sealstream status` asks them."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address that they listen on; there is no password."""
    ports: dict[str, Annotated[int, Field(ge=0, le=65_535)]] = Field(default_factory=dict)
    """By process (`sequencer`; `postgres-sink-phi` for another chain than main); 0 takes a free one, a process that is
    not named serves none.
    """
    targets: dict[str, str] = Field(default_factory=dict)
    """Where `sealstream status` finds processes that run elsewhere, as `http://host:port`, by any name."""
    alive_within_seconds: Annotated[float, Field(ge=5)] = 120.0
    """How long a step may last before /healthz says no."""
    ask_every_seconds: Annotated[float, Field(ge=0.1)] = 10.0
    """How often the stores are asked for the lag."""
    stay_after_alarm: bool = False
    """Whether a process that an alarm has stopped stays, doing nothing but to tell of it, instead of ending with exit
    code 1: for orchestrators that start anew whatever ends.
    """

    @field_validator("ports")
    @classmethod
    def _of_processes(cls, ports: dict[str, int]) -> dict[str, int]:
        for name in ports:
            if not any(name == process or name.startswith(f"{process}-") for process in ALL):
                raise ValueError(f"{name!r} is no process: expected one of {', '.join(ALL)}, with -CHAIN behind it")
        used: dict[int, str] = {}
        for name, port in ports.items():
            if port and (other := used.setdefault(port, name)) != name:
                raise ValueError(f"{other} and {name} have the same port {port}")
        return ports

    @field_validator("targets")
    @classmethod
    def _addresses(cls, targets: dict[str, str]) -> dict[str, str]:
        for name, url in targets.items():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{name} is at {url!r}: expected http://host:port")
        return {name: url.rstrip("/") for name, url in targets.items()}

    def addresses(self) -> dict[str, str]:
        """Where each process that is known of serves its figures; a free port can't be known."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        shown = f"[{host}]" if ":" in host else host
        return {name: f"http://{shown}:{port}" for name, port in self.ports.items() if port} | self.targets


def program_name(process: str, chain: str) -> str:
    """What a process of this chain is called among `ports`, in the local stack and in logs: `main` is not spelled."""
    return process if chain == MAIN else f"{process}-{chain}"
