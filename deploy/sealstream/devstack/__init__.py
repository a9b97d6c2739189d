"""The local stack, from packages and without Docker: real servers and Sealstream's processes under one supervisor."""

from sealstream.devstack.faults import AlreadyRunning, DiskFull, NoJava, NotOurs, PortTaken, ServerFailed
from sealstream.devstack.specs import ALARM_EXIT_CODE, ProcessSpec, ProcessStatus
from sealstream.devstack.stack import Endpoints, Stack, endpoints_of, status_of, stop_stack, supervisor_of

__all__ = [
    "ALARM_EXIT_CODE",
    "AlreadyRunning",
    "DiskFull",
    "Endpoints",
    "NoJava",
    "NotOurs",
    "PortTaken",
    "ProcessSpec",
    "ProcessStatus",
    "ServerFailed",
    "Stack",
    "endpoints_of",
    "status_of",
    "stop_stack",
    "supervisor_of",
]
