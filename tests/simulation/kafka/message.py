"""`confluent_kafka.Message`, and the small answers of the admin client, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError

__all__ = ["Answer", "ModelMessage"]


class ModelMessage:
    """A record, or (with an error) an event of the driver."""

    __slots__ = ("_error", "_headers", "_key", "_offset", "_timestamp_ms", "_topic", "_value", "created_ms")

    def __init__(
        self,
        topic: str,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        error: KafkaError | None = None,
    ) -> None:
        self._topic, self._offset, self._timestamp_ms = topic, offset, timestamp_ms
        self._key, self._value, self._headers, self._error = key, value, headers, error
        self.created_ms = timestamp_ms

    def place(self, offset: int, timestamp_ms: int) -> None:
        self._offset, self._timestamp_ms = offset, timestamp_ms

    def failed(self, error: KafkaError | None) -> None:
        self._error = error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (1, self._timestamp_ms)

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return list(self._headers) or None

    def error(self) -> KafkaError | None:
        return self._error


class Answer:
    """An object with these attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)
