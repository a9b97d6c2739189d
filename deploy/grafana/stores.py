"""The dashboard `stores`. Kafka, Postgres and the archive: whether they answer, and how far each is; and the ways in. Pure."""

from __future__ import annotations

from grafana.panels import CHAIN, GOOD_BAD, MINE, Dashboard, Panel, appeared, by, hourly, rate

__all__ = ["DASHBOARD"]

DASHBOARD = Dashboard(
    "sealstream-stores",
    "Sealstream: stores",
    "Kafka, Postgres and the archive: whether they answer, and how far each is; and the ways in.",
    (
        (
            "Whether they answer",
            (
                Panel(
                    "Away",
                    "Stores that did not answer the process that asked last.",
                    "short",
                    ((f"count(sealstream_store_reachable{{{MINE}}} == 0) or vector(0)", "away"),),
                    "stat",
                    4,
                    GOOD_BAD,
                ),
                Panel(
                    "Who reaches what",
                    "1 when the store answered the last time it was asked.",
                    "short",
                    (
                        (
                            by("sealstream_store_reachable", MINE, "store", "process", over="min"),
                            "{{store}} from {{process}}",
                        ),
                    ),
                    columns=20,
                ),
            ),
        ),
        (
            "How far each is",
            (
                Panel(
                    "Positions",
                    "The last entry that each has done with.",
                    "short",
                    ((by("sealstream_last_seq", CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                ),
                Panel(
                    "Behind",
                    "How long the oldest entry has waited for Postgres and the activity.",
                    "s",
                    (
                        (
                            by(
                                "sealstream_lag_seconds",
                                f'{CHAIN}, process=~"postgres-sink|activity"',
                                "process",
                                "chain",
                                over="max",
                            ),
                            "{{process}} {{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Age of the archive",
                    "How old the archive's newest entry is: a segment's length while events come, a day in an idle chain.",
                    "s",
                    (
                        (
                            by(
                                "sealstream_last_seq_age_seconds",
                                f'{CHAIN}, process="archive-sink"',
                                "chain",
                                over="min",
                            ),
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Rows a second in Postgres",
                    "Entries that the sink has stored.",
                    "ops",
                    ((rate("sealstream_entries_total", f'{CHAIN}, process="postgres-sink"', "chain"), "{{chain}}"),),
                ),
                Panel(
                    "Segments archived",
                    "By hour.",
                    "short",
                    ((hourly("sealstream_archived_segments_total", CHAIN, "chain"), "{{chain}}"),),
                ),
                Panel(
                    "Offsets",
                    "Where each process goes on in the chain's topic; of the sequencer, in the raw topic.",
                    "short",
                    ((by("sealstream_next_offset", CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                ),
            ),
        ),
        (
            "Ways in",
            (
                Panel(
                    "The collector's answers",
                    "By status. 429 and 503 are asked again; 422 names what is wrong with an event.",
                    "reqps",
                    ((rate("sealstream_collect_answers_total", MINE, "status"), "{{status}}"),),
                ),
                Panel(
                    "Events that the collector refused",
                    "By hour, as their senders were told.",
                    "short",
                    (
                        (
                            appeared("sealstream_collect_refused_events_total", CHAIN, "chain", over="1h"),
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory of bodies under way",
                    "What they have taken of `memory_bytes`; beyond it callers are told to come again.",
                    "bytes",
                    ((f"sealstream_collect_memory_bytes{{{MINE}}}", "{{instance}}"),),
                ),
                Panel(
                    "Outboxes",
                    "Rows that wait in applications' outboxes, and since when.",
                    "short",
                    (
                        (
                            by("sealstream_lag_entries", f'{CHAIN}, process="outbox-relay"', "chain", over="max"),
                            "rows {{chain}}",
                        ),
                        (
                            by("sealstream_lag_seconds", f'{CHAIN}, process="outbox-relay"', "chain", over="max"),
                            "seconds {{chain}}",
                        ),
                    ),
                    columns=24,
                ),
            ),
        ),
    ),
)
