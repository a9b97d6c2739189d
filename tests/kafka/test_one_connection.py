"""Many questions through one connection: as many clients as are needed, and no question lost with one that is deaf."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, admin, end_offset, one_connection


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every admin client that is made from now on."""
    clients: list[Any] = []
    real = admin.AdminClient

    def noted(config: dict[str, Any]) -> Any:
        clients.append(real(config))
        return clients[-1]

    monkeypatch.setattr(admin, "AdminClient", noted)
    return clients


def test_questions_within_the_block_share_a_client_and_others_do_not(
    kafka: KafkaSettings, topic: str, made: list[Any]
) -> None:
    with one_connection(kafka):
        assert made == []  # until somebody asks
        assert [end_offset(kafka, topic, committed=True) for _ in range(5)] == [0] * 5
        assert len(made) == 1
        with pytest.raises(Misconfigured):
            end_offset(kafka, "there-is-none", committed=True)
        assert len(made) == 1
        elsewhere = threading.Thread(target=end_offset, args=(kafka, topic), kwargs={"committed": True})
        elsewhere.start()
        elsewhere.join()
        assert len(made) == 2
        other = kafka._replace(options={**kafka.options, "client.id": "other"})
        end_offset(other, topic, committed=True)
        assert len(made) == 3
    end_offset(kafka, topic, committed=True)
    assert len(made) == 4


def test_a_question_that_it_does_not_answer_is_asked_by_another(
    kafka: KafkaSettings, topic: str, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_connection(kafka):
        end_offset(kafka, topic, committed=True)

        def deaf(*_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

        class Deaf:
            describe_topics = list_offsets = staticmethod(deaf)
            poll = staticmethod(lambda _: 0)

        monkeypatch.setattr(admin._kept.here, "_client", Deaf())
        assert end_offset(kafka, topic, committed=True) == 0
        assert len(made) == 2
        assert [end_offset(kafka, topic, committed=True) for _ in range(3)] == [0] * 3
        assert len(made) == 3  # the deaf one is asked no more
