"""`make demo`: the whole pipeline on real servers, from web requests to an attack raised and tampering found out.

Starts the stack in its own data directory and stops it at the end, whatever happens; Ctrl-C and a kill -9 leave nothing
running, and the next run goes on with the same data. Exit code 0 only if everything held.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit, urlunsplit

from examples.clinic.attack import ADDRESS
from examples.demo import tampering, watching
from examples.demo.clinic_app import Clinic
from examples.demo.story import Tampering, Teller
from rich.console import Console

from sealstream.archive import ArchiveStore, read_rows
from sealstream.checkpointing import load_signer
from sealstream.cli.pipeline import prepare, process_specs
from sealstream.cli.progress import ChainProgress, chain_progress
from sealstream.cli.settings import Settings
from sealstream.cli.stores import accesses_table, actions_table, archive_settings, failing_table
from sealstream.cli.verify import print_report
from sealstream.devstack import Stack
from sealstream.devstack.ports import free_port, is_free
from sealstream.errors import SealstreamError
from sealstream.layout import SegmentLimits, decode_entry
from sealstream.postgres import AuditQueries, PostgresStore
from sealstream.verify import (
    ChainIdentity,
    Report,
    Verification,
    keep_checkpoint,
    kept_notes,
    verify_archive,
    verify_kafka,
    verify_postgres,
)

CHAIN = "main"
PORTS = {"kafka": 19192, "postgres": 15532, "s3": 18433}
SEGMENTS = SegmentLimits(entries=250, seconds=4)
RAISED_WITHIN_S = 5.0
_PATIENCE_S = 90.0


class Demo:
    """One run. `pump` looks after the programs while something is waited for."""

    def __init__(self, data_dir: Path, requests: int, teller: Teller) -> None:
        self.data_dir = data_dir
        self.requests = requests
        self.teller = teller
        self.config = data_dir / "sealstream.toml"
        self.held = True
        taken: set[int] = set()
        ports = {name: port if is_free(port) else free_port(taken) for name, port in PORTS.items()}
        self.stack = Stack(data_dir, ports=ports, progress=teller.say)
        self.settings: Settings
        self.identity: ChainIdentity

    def run(self) -> bool:
        """Tell the whole story; True when everything held."""
        self.teller.chapter(1, "Start")
        self._start()
        self.teller.chapter(2, "Work: a clinic's staff and patients, over HTTP")
        self._work()
        self.teller.chapter(3, "Ask: an auditor's questions, from Postgres")
        self._ask()
        self.teller.chapter(4, "Watch: somebody guesses a password, and what people do about it")
        self._watch()
        self.teller.chapter(5, "Verify: every hash, link, root and signature, in all three stores")
        self._verify()
        self.teller.chapter(6, "Tamper: with copies, and with all the power that each culprit has")
        self._tamper()
        return self.held

    def _start(self) -> None:
        endpoints = self.stack.start()
        with self.teller.doing("chain, topics, bucket with Object Lock, tables and roles"):
            self.settings = prepare(self.config, endpoints, log="demo.sealstream.local/clinic", limits=SEGMENTS)
        chain = self.settings.chain(CHAIN)
        self.identity = ChainIdentity(chain.name, chain.origin, chain.vkey)
        self.stack.start_processes(process_specs(self.config, [CHAIN]))
        with self.teller.doing("sequencer, checkpointing, Postgres sink, archive sink"):
            self._until("the sequencer to take its chain", lambda now: bool(now.size))
        self.teller.say(f"the chain's public key, all that an auditor must trust: {chain.vkey}")

    def _work(self) -> None:
        start = self._until("what an earlier run left to be sealed", lambda now: now.waiting == 0).size or 0
        clinic = Clinic(self.stack, self.settings.kafka.bootstrap, CHAIN)
        with self.teller.doing(f"{self.requests} HTTP requests to a FastAPI application with the audit middleware"):
            clinic.start()
            clinic.drive(self.requests)
            done = time.monotonic()
            while time.monotonic() < done + SEGMENTS.seconds + 0.5:  # so that the last event also ends the segment
                self._pump()
            emitted = clinic.stop()
        with self.teller.doing("every event sealed, signed, stored and archived"):
            last = self._last_event(start + emitted)
            self._until("every store to hold it", lambda now: self._reached(now, last))
        sealed, stored, archived = self._sealed(start), self._stored(start), self._archived(start)
        equal = sealed == stored == archived == emitted
        self.held &= equal
        self.teller.counts(
            [
                ("emitted", emitted, f"by the clinic: one for each of {clinic.requests:,} requests, and its own"),
                ("sealed", sealed, "in the chain, in Kafka"),
                ("Postgres", stored, "rows"),
                ("archive", archived, "rows in Parquet objects under COMPLIANCE lock"),
            ],
            equal=equal,
        )

    def _ask(self) -> None:
        with AuditQueries(self.settings.postgres.reader_dsn) as queries:
            actions = queries.actor_actions("user-123", days=30)
            accesses = queries.resource_accesses("patient_record", "patient-456")
            failing = queries.failing_actors(more_than=5, hours=24)
        self.teller.question(f"What did user-123 do in the last 30 days? ({len(actions)})", actions_table(actions[:8]))
        self.teller.question(
            f"Who has seen the record of patient-456, and why? ({len(accesses)})", accesses_table(accesses[:8])
        )
        self.teller.question("Who failed or was denied more than five times in 24 hours?", failing_table(failing))
        self.held &= bool(actions and accesses and failing)

    def _watch(self) -> None:
        with self.teller.doing("the roll-up and the watch's worker, ready"):
            for process in ("activity", "anomaly"):
                self._until(f"{process} to be ready", lambda _, name=process: watching.is_ready(self.settings, name))  # type: ignore[misc]
        account = watching.account_to_attack(self.settings, CHAIN, datetime.now(UTC))
        clinic = Clinic(self.stack, self.settings.kafka.bootstrap, CHAIN, "clinic-at-night")
        clinic.start()
        begins = datetime.now(UTC)
        done = clinic.attack(account)
        self.teller.say(
            f"{done.guesses} wrong passwords for {account} ({done.account}) from {ADDRESS}, then the right one, and "
            f"{done.records} patients looked at: over HTTP, as anybody could"
        )
        with self.teller.doing("the watch's alerts, sealed in the chain"):
            raised = self._raised(done.account, begins)
        in_time = raised.after_s <= RAISED_WITHIN_S
        self.held &= in_time
        self.teller.alerts(raised.cases, raised.after_s, RAISED_WITHIN_S)
        worst, ids = raised.cases[-1].id[:8], [case.id[:8] for case in raised.cases]
        self._type("alerts", "show", worst)
        self._type("alerts", "ack", *ids, "--note", f"calling {account}, who should be on the ward")
        reason = "nobody on the ward: account locked, sessions ended, patients told"
        self._type("alerts", "close", *ids, "--as", "true-positive", "--reason", reason)
        span = watching.span_of(begins)
        clinic.stop()  # its last event stands behind the span: so the span is whole
        with self.teller.doing("Postgres to hold it"):
            self._until("Postgres to hold it", lambda now: now.waiting == 0 and now.postgres_size == now.size)
        self._type("review", "start", "--period", span, "--verify", "postgres")
        self._type("review", "sign", "--period", span, "--note", "one guessed password, dealt with; nothing else")

    def _raised(self, account: str, begins: datetime) -> watching.Raised:
        found: list[watching.Raised] = []

        def reached(_: ChainProgress) -> bool:
            raised = watching.raised_after(self.settings, CHAIN, account, begins, self._chain)
            found.extend([raised] if raised else [])
            return bool(found)

        self._until("the watch to raise the attack", reached)
        return found[0]

    def _type(self, *words: str) -> None:
        command = watching.run_command(self.config, *words)
        self.held &= command.code == 0
        self.teller.command(command)
        self._pump()

    def _verify(self) -> None:
        for store, verify in self._verifications().items():
            kept = kept_notes(self.data_dir / "verifier", self.identity.origin, self.identity.vkey, store)
            report = _timed(verify, Verification(self.identity, now=datetime.now(UTC), notes=kept))
            print_report(report, self.teller.console)
            self.held &= report.exit_code == 0
            if report.exit_code == 0:
                keep_checkpoint(
                    self.data_dir / "verifier",
                    self.identity.origin,
                    self.identity.vkey,
                    store,
                    report.checkpoint_note,
                )

    def _verifications(self) -> dict[str, Callable[[Verification], Report]]:
        settings = self.settings
        return {
            "kafka": lambda asked: verify_kafka(settings.kafka_settings(), asked, prefix=settings.kafka.prefix),
            "postgres": lambda asked: verify_postgres(settings.postgres.reader_dsn, asked),
            "archive": lambda asked: verify_archive(archive_settings(settings), asked),
        }

    def _tamper(self) -> None:
        acts: list[Callable[[str], Tampering]] = [
            lambda tag: self._tamper_postgres("A column", tampering.edit_a_column, "edited", f"{tag}_a"),
            lambda tag: self._tamper_postgres("A row", tampering.delete_a_row, "missing", f"{tag}_b"),
            lambda tag: self._tamper_archive(),
            lambda tag: self._tamper_suffix(f"{tag}-c"),
            lambda tag: self._tamper_input(f"{tag}-d"),
        ]
        tag = f"tampered{uuid.uuid4().hex[:8]}"
        for number, act in enumerate(acts, 1):
            done = act(tag)
            self.held &= done.found
            self.teller.tampering(number, done)
            self._pump()

    def _tamper_postgres(
        self, title: str, deed: Callable[[str], tampering.Deed], kind: str, database: str
    ) -> Tampering:
        admin_dsn = self.settings.postgres.admin_dsn
        try:
            done = deed(tampering.copy_database(admin_dsn, database))
            reader_dsn = urlunsplit(urlsplit(self.settings.postgres.reader_dsn)._replace(path=f"/{database}"))
            report = verify_postgres(reader_dsn, self._question())
        finally:
            tampering.drop_database(admin_dsn, database)
        return Tampering(title, done.what, done.seq, kind, report)

    def _tamper_archive(self) -> Tampering:
        with tempfile.TemporaryDirectory(prefix="sealstream-demo-") as folder:
            tampering.copy_archive(archive_settings(self.settings), CHAIN, Path(folder))
            done = tampering.replace_an_object(Path(folder))
            report = verify_archive(Path(folder), self._question())
        return Tampering("A Parquet object", done.what, done.seq, "edited", report)

    def _tamper_suffix(self, prefix: str) -> Tampering:
        original = tampering.snapshot(self.settings.kafka_settings(), CHAIN, self.settings.kafka.prefix)
        return self._tamper_kafka("The chain's end", original, tampering.rehash_a_suffix(original), "forked", prefix)

    def _tamper_input(self, prefix: str) -> Tampering:
        signer = load_signer(self.config.parent / self.settings.chains[CHAIN].key_file)
        original = tampering.snapshot(self.settings.kafka_settings(), CHAIN, self.settings.kafka.prefix)
        forgery = tampering.drop_an_event(original, signer)
        return self._tamper_kafka("An event, by an insider with the key", original, forgery, "unaccounted", prefix)

    def _tamper_kafka(
        self, title: str, original: tampering.Snapshot, forgery: tampering.Forgery, kind: str, prefix: str
    ) -> Tampering:
        kafka = self.settings.kafka_settings()
        topics = tampering.copy_topics(kafka, original, prefix, forgery)
        try:
            report = verify_kafka(kafka, self._question(), prefix=prefix)
        finally:
            tampering.delete_topics(kafka, topics)
        return Tampering(title, forgery.deed.what, forgery.deed.seq, kind, report)

    def _question(self) -> Verification:
        return Verification(self.identity, now=datetime.now(UTC))

    # --- waiting and counting -------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self.stack.step()
        time.sleep(0.1)

    def _until(self, what: str, reached: Callable[[ChainProgress], bool]) -> ChainProgress:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self._pump()
            now = chain_progress(self.settings, CHAIN)
            if reached(now):
                return now
            if time.monotonic() > deadline:
                states = ", ".join(f"{status.name} {status.state}" for status in self.stack.status())
                raise TimeoutError(
                    f"waited {_PATIENCE_S:.0f} s for {what}: {now}; {states}; logs in {self.data_dir}/logs"
                )

    def _reached(self, now: ChainProgress, last_seq: int) -> bool:
        stores = (now.size, now.signed_size, now.postgres_size, now.archive_size)
        return now.waiting == 0 and all(size is not None and size > last_seq for size in stores)

    def _last_event(self, least_size: int) -> int:
        """The seq of the newest event, once the input is sealed to its end and the chain has at least this size."""
        self._until("the input to be sealed", lambda now: now.waiting == 0 and (now.size or 0) >= least_size)
        entries = [decode_entry(value).written for value in self._chain()]
        return max(written.seq for written in entries if written.kind == "event")

    def _chain(self) -> list[bytes]:
        return tampering.snapshot(self.settings.kafka_settings(), CHAIN, self.settings.kafka.prefix).values

    def _sealed(self, start: int) -> int:
        written = [decode_entry(value).written for value in self._chain()]
        return sum(1 for each in written if each.kind == "event" and each.seq >= start)

    def _stored(self, start: int) -> int:
        with PostgresStore(self.settings.postgres.reader_dsn) as store:
            rows = [row for batch in store.rows(CHAIN, start) for row in batch]
        return sum(1 for row in rows if decode_entry(row.body).written.kind == "event")

    def _archived(self, start: int) -> int:
        store = ArchiveStore(archive_settings(self.settings), CHAIN)
        try:
            kinds = [
                (seq, kind)
                for segment in store.segments()
                if segment.name.last_seq >= start and segment.object.versions
                for seq, kind in read_rows(
                    store.read(segment.name.object_key, segment.object.versions[0]), ("seq", "kind")
                )
            ]
        finally:
            store.close()
        return sum(1 for seq, kind in kinds if seq >= start and kind == b"event")


def _timed(verify: Callable[[Verification], Report], asked: Verification) -> Report:
    began = time.monotonic()
    report = verify(asked)
    report.elapsed_s = time.monotonic() - began
    return report


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; the return value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(".sealstream/demo"), help="default: .sealstream/demo")
    parser.add_argument("--requests", type=int, default=600, help="HTTP requests to send (default: 600)")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell had SIGINT ignored
        signal.signal(number, _interrupt)
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "120"))
    teller = Teller(Console(highlight=False, width=width))
    teller.opening()
    began = time.monotonic()
    demo = Demo(arguments.data_dir, arguments.requests, teller)
    try:
        held = demo.run()
    except KeyboardInterrupt:
        teller.say("stopped; `make demo` goes on from here")
        return 130
    except (SealstreamError, TimeoutError, RuntimeError, LookupError) as error:
        teller.say(f"the demo could not go on: {error}")
        return 2
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second Ctrl-C must not leave half of it running
            signal.signal(number, signal.SIG_IGN)
        teller.say("stopping what was started; the data stays")
        demo.stack.stop()
    where = f"--data-dir {arguments.data_dir}"
    teller.ending(
        held,
        time.monotonic() - began,
        [
            f".venv/bin/sealstream up {where}                 # the same stack, with a live view",
            f".venv/bin/sealstream -c {arguments.data_dir}/sealstream.toml verify all",
            f".venv/bin/sealstream -c {arguments.data_dir}/sealstream.toml ask failures",
            "less docs/format.md                                 # write your own verifier",
        ],
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
