"""Every error that Sealstream raises, as one tree under `SealstreamError`.

A message says what is wrong, what was expected, what came, and what to do when there is something to do. A driver's
exception never crosses our interface: it is chained with `from`. Packages may add leaves below these branches; the
branch decides what a process does (try again, stop the chain, refuse the input) and the exit code of a command.
"""

__all__ = [
    "ChainBroken",
    "ChainStopped",
    "Fenced",
    "Forked",
    "InputLost",
    "InvalidEvent",
    "Misconfigured",
    "NotCanonical",
    "SealstreamError",
    "Unavailable",
]


class SealstreamError(Exception):
    """The root. `exit_code` is what a command ends with: 2, could not do it, unless a branch says otherwise."""

    exit_code = 2


class InvalidEvent(SealstreamError):
    """An event is refused. `field` is the path of the field at fault ("" for the event as a whole)."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class NotCanonical(SealstreamError):
    """Bytes that should be RFC 8785 canonical JSON are not, or can't be (duplicate names, lone surrogates, ...)."""


class Misconfigured(SealstreamError):
    """A setting, a topic, a bucket, a role or a key file is not as it must be; the message says how to mend it."""


class Unavailable(SealstreamError):
    """A server does not answer, or not in time. Trying again later may help; nothing was lost."""


class Fenced(Unavailable):
    """Another process has taken this chain over, or the transaction must be abandoned: start anew from the tail."""


class ChainStopped(SealstreamError):
    """This chain must not go on without a person: the process writes nothing more and says so loudly."""

    exit_code = 1


class Forked(ChainStopped):
    """Two histories: a store, a checkpoint or an archive object contradicts the chain."""


class ChainBroken(ChainStopped):
    """A hash, a link, a number, a time or the account of the chain does not hold."""


class InputLost(ChainStopped):
    """An input topic was recreated or trimmed past the offset that comes next; an operator must decide."""
