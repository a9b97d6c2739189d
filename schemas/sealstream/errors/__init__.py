"""Every error that Sealstream raises, as one tree under `SealstreamError`.

A message says what is wrong, what was expected, what came, and what to do when there is something to do. A driver's
exception never crosses our interface: it is chained with `from`. Packages may add leaves below these branches; the
branch decides what a process does (try again, stop the chain, refuse the input) and the exit code of a command.
"""

__all__ = [
    "ChainBroken",
    "ChainStopped",
    "DiskFull",
    "Fenced",
    "Forked",
    "Held",
    "HistoryLost",
    "InputLost",
    "InvalidEvent",
    "Misconfigured",
    "NotCanonical",
    "RolledBack",
    "SealstreamError",
    "Unavailable",
    "WrongRoot",
]


class SealstreamError(Exception):
    """The root. `exit_code` is what a command ends with: 2, could not do it, unless a branch says otherwise.

    `runbook`: the page that says what to do, for what a person must mend; empty where the message says it all.
    """

    exit_code = 2
    runbook = ""


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


class Held(SealstreamError):
    """A legal hold keeps what would leave a store: it is lifted, or waited for."""


class DiskFull(Unavailable):
    """There is no room where a server or a spool keeps its data: nothing is written until a person makes some."""

    runbook = "docs/runbooks/full-disk.md"


class Fenced(Unavailable):
    """Another process has taken this chain over, or the transaction must be abandoned: start anew from the tail."""


class ChainStopped(SealstreamError):
    """This chain must not go on without a person: the process writes nothing more and says so loudly."""

    exit_code = 1
    runbook = "docs/runbooks/lost-kafka.md"


class Forked(ChainStopped):
    """Two histories: a store, a checkpoint or an archive object contradicts the chain."""

    runbook = "docs/runbooks/fork.md"


class RolledBack(Forked):
    """Kafka holds less of the chain than was published, stored or archived."""

    runbook = "docs/runbooks/lost-kafka.md"


class WrongRoot(Forked):
    """The chain's key has signed another Merkle root than the entries have."""

    runbook = "docs/runbooks/wrong-root.md"


class ChainBroken(ChainStopped):
    """A hash, a link, a number, a time or the account of the chain does not hold."""

    runbook = "docs/runbooks/broken-link.md"


class InputLost(ChainStopped):
    """An input topic was recreated or trimmed past the offset that comes next; an operator must decide."""

    runbook = "docs/runbooks/input-lost.md"


class HistoryLost(InputLost):
    """The chain's own topics were recreated or trimmed past what comes next: they come back from the stores."""

    runbook = "docs/runbooks/lost-kafka.md"
