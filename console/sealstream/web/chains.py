"""Chains, their newest checkpoints, and how their verification stands.

The invariant: a checkpoint is given out only when its signature holds for the chain's key. These answers show no entry;
a monitor may ask for them all day, so of one token's repeats one an hour is recorded. Of a verification nothing is told
that names the service's insides, and to a token of one tenant no more than whether all holds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from sealstream.errors import SealstreamError
from sealstream.events import format_timestamp
from sealstream.health.asking import newest_note
from sealstream.layout import ChainTopics
from sealstream.sealing import Checkpoint, open_checkpoint
from sealstream.web.guard import Auditing, Caller, Reading, access_of
from sealstream.web.meant import no_such_chain
from sealstream.web.problems import Problem, problem_responses
from sealstream.web.searching import ChainName
from sealstream.web.service import ServedChain

__all__ = ["RecordedQuestions", "chain_routes"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RECORD_AGAIN_S = 3_600.0
_EXAMPLE_NOTE = """\
audit.example.com/clinic/main
4711
2M1PU4Wm0dWCP0wPTRkVpdWoxzvaxb4cCIzkTz8nq2A=

\u2014 audit.example.com/clinic/main 8y4PIxJ...
"""


class ChainSummary(BaseModel):
    """`vkey`: the public key by which a verifier knows the chain; compare it with what you were given on paper."""

    name: str = Field(examples=["main"])
    origin: str = Field(examples=["audit.example.com/clinic/main"])
    vkey: str
    retention: str = Field(examples=["hipaa"])
    closed_at: str | None
    continued_as: str | None


class ChainList(BaseModel):
    """The chains that the token may read."""

    chains: list[ChainSummary]


class Sizes(BaseModel):
    """How many entries each store has; null: it could not be asked. `troubles` names those."""

    sealed: int | None
    signed: int | None
    postgres: int | None
    archive: int | None
    troubles: list[str]


class ChainState(ChainSummary):
    """`sizes` is null for a token that is held to one tenant: how much others do is none of its business."""

    sizes: Sizes | None


class CheckpointFacts(BaseModel):
    """The newest checkpoint, its signature checked just now."""

    size: int
    root: str
    published_at: str


class StoreVerdict(BaseModel):
    """What verifying one store gave. `exit_code`: 0 all holds, 1 tampering found, 2 could not verify. `error`: empty,
    or that the service's own log says more.
    """

    store: str
    verdict: str = Field(examples=["holds"])
    exit_code: int
    entries: int
    signed_size: int
    root: str
    assurance: list[str]
    faults: int
    fault_kinds: list[str]
    notes: list[str]
    error: str


class LastVerification(BaseModel):
    """A full verification that this service has run. `by`, `stores` and `trouble` are null for a token that is held to
    one tenant: they tell of others.
    """

    started_at: str
    finished_at: str
    verdict: str = Field(examples=["holds"])
    exit_code: int
    by: str | None
    stores: list[StoreVerdict] | None
    trouble: str | None


class VerificationState(BaseModel):
    """What is known: the newest checkpoint, whose signature was checked just now, and the last full verification.

    It is the operator's word: who wants to be sure verifies with the public key, on a machine of their own.
    """

    chain: str
    checkpoint: CheckpointFacts | None
    running: bool
    last: LastVerification | None


class Started(BaseModel):
    """It has begun; ask for the state later."""

    chain: str
    running: bool


_VERDICTS = {0: "holds", 1: "TAMPERED"}
_SEE_LOG = "the service's log says more"


def _told(last: Mapping[str, Any] | None, who: Caller) -> Mapping[str, Any] | None:
    """The last verification as this token may know it."""
    if last is None:
        return None
    told = {name: last[name] for name in ("started_at", "finished_at", "exit_code")}
    told["verdict"] = _VERDICTS.get(last["exit_code"], "could not verify")
    if who.token.tenant is not None:
        return told | dict.fromkeys(("by", "stores", "trouble"))
    stores = [store | {"error": store["error"] and _SEE_LOG} for store in last["stores"]]
    return told | {"by": last["by"], "stores": stores, "trouble": last["trouble"] and _SEE_LOG}


class _Checkpoint(NamedTuple):
    note: bytes
    checkpoint: Checkpoint
    published_ms: int


class RecordedQuestions:
    """When each token's each question was last recorded."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._at: dict[tuple[str, ...], float] = {}

    def due(self, *key: str) -> bool:
        """Whether it is to be recorded, again."""
        with self._lock:
            return time.monotonic() - self._at.get(key, float("-inf")) > _RECORD_AGAIN_S

    def done(self, *key: str) -> None:
        """It was recorded now."""
        with self._lock:
            self._at[key] = time.monotonic()


def _served(request: Request, who: Caller, name: str) -> ServedChain:
    """The chain, if there is one that the token may read: nobody learns whether there are others.

    The attempt is recorded in a chain of the token's own, whether or not there is such a chain: so neither answers nor
    times tell them apart, and nobody writes into a chain that is not theirs.
    """
    own = who.chains()
    if name in own:
        return who.service.chains[name]
    for chain in own[:1]:
        access = access_of(request, chain, "none", f"chain:{name}")
        with suppress(SealstreamError):  # nothing is shown; the refusal stands
            who.service.access.record(
                who.reader, access, 0, result="denied", facts={"verdict": "beyond the token's chains"}
            )
    raise Problem(404, "no-such-chain", no_such_chain(name, own))


def _record(request: Request, who: Caller, chains: list[str], store: str) -> None:
    recorded: RecordedQuestions = request.app.state.recorded_questions
    for chain in chains:
        access = access_of(request, chain, store)
        if recorded.due(who.token.id, access.what, chain):
            who.service.access.record(who.reader, access, 0)
            recorded.done(who.token.id, access.what, chain)


def _newest(who: Caller, chain: ServedChain) -> _Checkpoint | None:
    """Raises `BadNote` (an alarm) when the newest checkpoint's signature does not hold."""
    service = who.service
    record = newest_note(service.kafka, ChainTopics.of(chain.name, service.prefix), chain.vkey)
    if record is None or not record.value:
        return None
    return _Checkpoint(record.value, open_checkpoint(record.value, chain.vkey), record.timestamp_ms)


def _summary(chain: ServedChain) -> dict[str, Any]:
    return {
        "name": chain.name,
        "origin": chain.origin,
        "vkey": chain.vkey,
        "retention": chain.retention,
        "closed_at": chain.closed_at or None,
        "continued_as": chain.continued_as or None,
    }


def chain_routes() -> APIRouter:
    """The routes below /v1/chains, but for entries."""
    routes = APIRouter(tags=["chains"])

    @routes.get("/v1/chains", summary="The chains that the token may read", responses=problem_responses())
    def chains(request: Request, who: Reading) -> ChainList:
        _record(request, who, who.chains(), "settings")
        return ChainList.model_validate({"chains": [_summary(who.service.chains[name]) for name in who.chains()]})

    @routes.get("/v1/chains/{chain}", summary="One chain, and how far it is", responses=problem_responses(404))
    def chain_state(request: Request, who: Reading, chain: ChainName) -> ChainState:
        """The chain's key, and how many entries are sealed, signed, and in each store."""
        served = _served(request, who, chain)
        sizes = None if who.token.tenant is not None else dict(who.service.progress(chain))
        _record(request, who, [chain], "all")
        return ChainState.model_validate(_summary(served) | {"sizes": sizes})

    @routes.get(
        "/v1/chains/{chain}/checkpoint",
        summary="The newest signed checkpoint",
        response_class=Response,
        responses={
            200: {
                "description": "A C2SP tlog-checkpoint in a signed note, verbatim",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE_NOTE}},
            },
            **problem_responses(404),
        },
    )
    def checkpoint(request: Request, who: Reading, chain: ChainName) -> Response:
        """Keep it: whoever holds a checkpoint can tell, later, that the log has only grown since."""
        newest = _newest(who, _served(request, who, chain))
        _record(request, who, [chain], "kafka")
        if newest is None:
            raise Problem(404, "no-checkpoint", f"chain {chain} has no checkpoint yet: nothing was signed")
        return Response(newest.note, media_type="text/plain; charset=utf-8")

    @routes.get("/v1/chains/{chain}/verification", summary="How verification stands", responses=problem_responses(404))
    def verification(request: Request, who: Reading, chain: ChainName) -> VerificationState:
        """The newest checkpoint, its signature checked now; the last full verification, by whom and when."""
        newest = _newest(who, _served(request, who, chain))
        _record(request, who, [chain], "kafka")
        facts = None
        if newest is not None:
            published = newest.published_ms
            facts = {
                "size": newest.checkpoint.size,
                "root": newest.checkpoint.root.hex(),
                "published_at": format_timestamp(_EPOCH + timedelta(milliseconds=published)),
            }
        verifications = who.service.verifications
        return VerificationState.model_validate(
            {
                "chain": chain,
                "checkpoint": facts,
                "running": verifications.running(chain),
                "last": _told(verifications.last(chain), who),
            }
        )

    @routes.post(
        "/v1/chains/{chain}/verification",
        status_code=202,
        summary="Have every store verified",
        responses=problem_responses(403, 404, 409),
    )
    def verify(request: Request, who: Auditing, chain: ChainName) -> Started:
        """Begin a full verification of Kafka, Postgres and the archive, in the background; one at a time."""
        _served(request, who, chain)
        who.service.access.record(who.reader, access_of(request, chain, "all"), 0)
        who.service.verifications.start(chain, who.token.name)
        return Started(chain=chain, running=True)

    return routes
