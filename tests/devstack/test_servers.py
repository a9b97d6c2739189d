"""What the pipeline relies on in the three servers, asked of the real ones: transactions, passwords, Object Lock."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient


def _read(bootstrap: str, topic: str, isolation: str, expected: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    for message in iter(lambda: consumer.poll(10), None):
        if message.error():  # the end of the partition
            break
        values.append(message.value())
    consumer.close()
    assert len(values) == expected
    return values


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(kafka, chain) -> None:
    topic = f"audit.chain.{chain.name}"
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"test-{chain.name}"})
    producer.init_transactions(30)
    for value, commit in ((b"kept", True), (b"dropped", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        assert producer.flush(30) == 0
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    assert _read(kafka.bootstrap, topic, "read_committed", 2) == [b"kept", b"kept too"]
    assert _read(kafka.bootstrap, topic, "read_uncommitted", 3)[1] == b"dropped"


def test_topics_are_never_made_by_writing_to_them(kafka) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    client.list_topics("made-by-accident", timeout=10)
    assert "made-by-accident" not in client.list_topics(timeout=10).topics


def test_postgres_asks_everybody_for_the_password(postgres_admin_dsn: str) -> None:
    head, _, rest = postgres_admin_dsn.partition("@")
    wrong = f"{head.rpartition(':')[0]}:wrong@{rest}"
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(asyncpg.connect(wrong))


def test_a_database_is_utf8_and_does_not_depend_on_this_machines_locale(database: str) -> None:
    async def ask() -> tuple[str, int]:
        connection = await asyncpg.connect(database)
        try:
            encoding = await connection.fetchval("SHOW server_encoding")
            return encoding, await connection.fetchval("SELECT current_setting('server_version_num')::int")
        finally:
            await connection.close()

    encoding, version = asyncio.run(ask())
    assert encoding == "UTF8"
    assert version >= 180_000


def test_a_locked_version_is_neither_deleted_nor_unlocked_nor_shortened(s3, bucket) -> None:
    until = datetime.now(UTC) + timedelta(days=2)
    where = {"Bucket": bucket.bucket, "Key": "locked"}
    put = s3.put_object(
        **where, Body=b"evidence", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until, IfNoneMatch="*"
    )
    version = {**where, "VersionId": put["VersionId"]}
    with pytest.raises(ClientError) as refused:
        s3.delete_object(**version)
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    for mode, days in (("COMPLIANCE", 1), ("GOVERNANCE", 3)):
        with pytest.raises(ClientError):
            s3.put_object_retention(
                **version,
                Retention={"Mode": mode, "RetainUntilDate": datetime.now(UTC) + timedelta(days=days)},
                BypassGovernanceRetention=True,
            )
    with pytest.raises(ClientError) as taken:
        s3.put_object(**where, Body=b"other", IfNoneMatch="*")
    assert taken.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    s3.delete_object(**where)  # a marker hides it, no more
    assert s3.get_object(**version)["Body"].read() == b"evidence"
    longer = until + timedelta(days=30)
    s3.put_object_retention(**version, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": longer})
    kept = s3.get_object_retention(**version)["Retention"]
    assert kept["Mode"] == "COMPLIANCE"
    assert abs(kept["RetainUntilDate"] - longer) < timedelta(seconds=1)


def test_only_one_of_two_writers_puts_an_object_that_must_not_exist(s3, bucket) -> None:
    outcomes: list[int] = []

    def put() -> None:
        try:
            s3.put_object(Bucket=bucket.bucket, Key="once", Body=b"x", IfNoneMatch="*")
            outcomes.append(200)
        except ClientError as error:
            outcomes.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [200, 412, 412, 412]
