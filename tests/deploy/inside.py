"""Run within a container, from standard input: tries one thing with what that container has, and prints how it ended.

    docker compose exec -T clinic python - produce audit.chain.main < inside.py

Prints `allowed`, or `refused: ` and why; an answer that is neither is an error, so that a broken try is no refusal.
"""

import os
import socket
import ssl
import sys
import time
from pathlib import Path


def kafka_options() -> dict[str, str]:
    """How this container comes to Kafka: as its process does."""
    if "SEALSTREAM_BOOTSTRAP" in os.environ:
        from sealstream.client.environment import settings_from

        settings = settings_from(os.environ)
        return {"bootstrap.servers": settings["bootstrap"], **settings["kafka_options"]}
    from sealstream.cli.settings import load_settings

    kafka = load_settings(Path(os.environ["SEALSTREAM_CONFIG"])).kafka_settings()
    return {"bootstrap.servers": kafka.bootstrap, **kafka.options}


_DENIED = ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED")


def produce(topic: str, count: str = "1", size: str = "100") -> str:
    """Write records; `allowed in N s` once all are acknowledged."""
    import confluent_kafka as ck

    failed: list[str] = []
    producer = ck.Producer({**kafka_options(), "acks": "all", "message.timeout.ms": 90_000, "log_level": 0})
    begun = time.monotonic()
    for _ in range(int(count)):
        producer.produce(
            topic, b"x" * int(size), on_delivery=lambda error, _: failed.append(error.name()) if error else None
        )
    if producer.flush(100):
        raise TimeoutError("not acknowledged in 100 s")
    if failed:
        return refused(failed[0])
    return f"allowed in {time.monotonic() - begun:.1f} s"


def consume(topic: str) -> str:
    """Read a record of the topic's first partition, with no group."""
    import confluent_kafka as ck

    consumer = ck.Consumer({**kafka_options(), "group.id": "none", "enable.auto.commit": False, "log_level": 0})
    described = consumer.list_topics(topic, timeout=60).topics[topic]
    if described.error:
        return refused(described.error.name())
    consumer.assign([ck.TopicPartition(topic, 0, 0)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        # A group is none of a reader's business, and it has no right to this one; its records come all the same.
        if message is not None and not (message.error() and message.error().name() == "GROUP_AUTHORIZATION_FAILED"):
            return refused(message.error().name()) if message.error() else "allowed"
    raise TimeoutError("neither a record nor an error in 60 s")


def refused(name: str) -> str:
    """Only an authorization that is lacking counts."""
    if name not in _DENIED:
        raise RuntimeError(f"neither allowed nor refused: {name}")
    return f"refused: {name}"


def sql(statement: str, file: str) -> str:
    """A statement with the DSN in this file."""
    import asyncio

    import asyncpg

    async def run() -> str:
        connection = await asyncpg.connect(Path(file).read_text().strip())
        try:
            await connection.execute(statement)
            return "allowed"
        except (asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError) as error:
            return f"refused: {error.sqlstate} {error}"
        finally:
            await connection.close()

    return asyncio.run(run())


def unencrypted(file: str) -> str:
    """A connection with the right password, without TLS."""
    import asyncio

    import asyncpg

    dsn = Path(file).read_text().strip().split("?")[0] + "?sslmode=disable"
    try:
        asyncio.run(asyncpg.connect(dsn))
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        return f"refused: {error}"
    return "allowed"


def s3(act: str) -> str:
    """An act on the archive's first locked object, or on a new one."""
    import datetime

    from botocore.exceptions import ClientError

    from sealstream.archive.bucket import Bucket
    from sealstream.cli.settings import load_settings
    from sealstream.cli.stores import archive_settings

    bucket = Bucket(archive_settings(load_settings(Path(os.environ["SEALSTREAM_CONFIG"]))))
    client, name = bucket.client, bucket.settings.bucket
    version = client.list_object_versions(Bucket=name, Prefix="entries/")["Versions"][0]
    key, version_id = version["Key"], version["VersionId"]
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    acts = {
        "get": lambda: client.get_object(Bucket=name, Key=key, VersionId=version_id),
        "put": lambda: client.put_object(Bucket=name, Key="of-a-test", Body=b"x"),
        "delete": lambda: client.delete_object(Bucket=name, Key=key),
        "delete-many": lambda: client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key}]}),
        "delete-version": lambda: client.delete_object(Bucket=name, Key=key, VersionId=version_id),
        "shorten": lambda: client.put_object_retention(
            Bucket=name, Key=key, VersionId=version_id, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": tomorrow}
        ),
        "unlock-bucket": lambda: client.put_bucket_versioning(
            Bucket=name, VersioningConfiguration={"Status": "Suspended"}
        ),
        "delete-bucket": lambda: client.delete_bucket(Bucket=name),
        "policy": lambda: client.put_bucket_policy(Bucket=name, Policy="{}"),
    }
    try:
        answer = acts[act]()
        if denied := answer.get("Errors"):  # of several objects, each has an answer of its own
            return f"refused: {denied[0]['Code']}" if denied[0]["Code"] == "AccessDenied" else f"error: {denied}"
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return f"refused: {error}"
    return "allowed"


def reach(address: str) -> str:
    """A TCP connection."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return f"refused: {error}"
    return "allowed"


def handshake(address: str) -> str:
    """TLS with this container's authority, and no certificate of its own: allowed if the server goes on with it."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile="/run/secrets/ca.pem")
    try:
        with context.wrap_socket(socket.create_connection((host, int(port)), timeout=5), server_hostname=host) as tls:
            tls.sendall(b"\x00\x00\x00\x14\x00\x12\x00\x00\x00\x00\x00\x01\x00\x01x\x00\x01a\x00\x01b\x00\x00")
            return "allowed" if tls.recv(1) else "refused: hung up"
    except (ssl.SSLError, ConnectionError) as error:
        return f"refused: {error}"


def read(path: str) -> str:
    """A file."""
    try:
        Path(path).read_bytes()
    except OSError as error:
        return f"refused: {error}"
    return "allowed"


def write(path: str) -> str:
    """A file."""
    try:
        Path(path).write_text("x")
    except OSError as error:
        return f"refused: {error}"
    return "allowed"


TRIES = {each.__name__: each for each in (produce, consume, sql, unencrypted, s3, reach, handshake, read, write)}

if __name__ == "__main__":
    print(TRIES[sys.argv[1]](*sys.argv[2:]))
