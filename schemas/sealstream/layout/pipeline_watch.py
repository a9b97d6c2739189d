"""What `sealstream run watch` keeps in Kafka of each chain, by name and shape. Pure.

A record of the topic is one chain's newest state, with the chain's name as its key. An alert stands in `raising` before
it is sent anywhere, with all its bytes: sent again after a crash, it is the same.
"""

from __future__ import annotations

import msgspec

from sealstream.errors import NotCanonical
from sealstream.layout.alerts import Alert
from sealstream.layout.topics import DEFAULT_PREFIX, TopicConfig

__all__ = ["WatchState", "decode_watch_state", "encode_watch_state", "watch_topic"]


class WatchState(msgspec.Struct, frozen=True):
    """`next_seq`: the first entry whose statements were not read yet. `refused`: records that were refused since the
    watch began. `kept`: what the detectors know, as `PipelineWatch.encode` gives it; empty: nothing.
    """

    next_seq: int
    refused: int = 0
    kept: str = ""
    raising: list[Alert] = []
    v: int = 1


def watch_topic(prefix: str = DEFAULT_PREFIX) -> TopicConfig:
    """The topic under this prefix."""
    return TopicConfig(f"{prefix}.watch", {"cleanup.policy": "compact"})


def encode_watch_state(state: WatchState) -> bytes:
    """JSON with members in the order of the class."""
    return _encoder.encode(state)


def decode_watch_state(value: bytes) -> WatchState:
    """The reverse. Raises `NotCanonical`."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not a state of the watch: {error}: {value[:80]!r}") from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(WatchState)
