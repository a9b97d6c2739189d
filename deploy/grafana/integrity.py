"""The dashboard `integrity`. Whether the log is whole: alarms, what was checked, what was refused, what is missing. Pure."""

from __future__ import annotations

from grafana.panels import CHAIN, GOOD_BAD, Dashboard, Panel, appeared, by, grown, hourly

__all__ = ["DASHBOARD"]

DASHBOARD = Dashboard(
    "sealstream-integrity",
    "Sealstream: integrity",
    "Whether the log is whole: alarms, what was checked, what was refused, what is missing. Proof is `sealstream verify`.",
    (
        (
            "Alarms",
            (
                Panel(
                    "Alarms",
                    "Chains that a process has stopped: forked, rolled back, a wrong root, a broken link, lost input. "
                    "A person decides; the runbooks say how.",
                    "short",
                    ((f"sum(sealstream_alarms_total{{{CHAIN}}}) or vector(0)", "alarms"),),
                    "stat",
                    4,
                    GOOD_BAD,
                ),
                Panel(
                    "Which alarms",
                    "By kind, as the processes that are there have counted them.",
                    "short",
                    ((f"{by('sealstream_alarms_total', CHAIN, 'process', 'chain', 'kind')} > 0", ""),),
                    "table",
                    12,
                ),
                Panel(
                    "Stores ahead of Kafka",
                    "Entries that a store holds and Kafka does not. More than 0 for long: Kafka was rolled back.",
                    "short",
                    (
                        (
                            f'clamp_min(max by (chain) (min_over_time(sealstream_last_seq{{{CHAIN}, process!="sequencer"}}[5m])) - '
                            f'max by (chain) (max_over_time(sealstream_last_seq{{{CHAIN}, process="sequencer"}}[5m])), 0)',
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    8,
                    GOOD_BAD,
                ),
            ),
        ),
        (
            "Verification as it goes",
            (
                Panel(
                    "Sealed and checked again",
                    "Checkpointing computes every hash, link, number and account again before it signs: both lines are one.",
                    "short",
                    (
                        (
                            by("sealstream_last_seq", f'{CHAIN}, process="sequencer"', "chain", over="max"),
                            "sealed {{chain}}",
                        ),
                        (
                            by("sealstream_last_seq", f'{CHAIN}, process="checkpointing"', "chain", over="max"),
                            "checked {{chain}}",
                        ),
                        (by("sealstream_last_checkpoint_size", CHAIN, "chain", over="max"), "signed {{chain}}"),
                    ),
                ),
                Panel(
                    "Entries that nobody has signed yet",
                    "Sealed entries beyond the newest checkpoint.",
                    "short",
                    (
                        (
                            f'clamp_min(max by (chain) (sealstream_last_seq{{{CHAIN}, process="sequencer"}}) + 1 - '
                            f"max by (chain) (sealstream_last_checkpoint_size{{{CHAIN}}}), 0)",
                            "{{chain}}",
                        ),
                    ),
                ),
                Panel(
                    "Segments",
                    "Ends of segments that were signed, and segments that were archived, by hour.",
                    "short",
                    (
                        (hourly("sealstream_segments_total", CHAIN, "chain"), "ended {{chain}}"),
                        (
                            hourly("sealstream_archived_segments_total", CHAIN, "chain"),
                            "archived {{chain}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "What came in",
            (
                Panel(
                    "Dead letters",
                    "Records that were refused or came too late, in the time shown.",
                    "short",
                    ((grown("sealstream_dead_letters_total", CHAIN, "chain"), "{{chain}}"),),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Runs of missing numbers",
                    "Numbers that producers have skipped and that have not come since: lost before Kafka, or in a spool.",
                    "short",
                    ((by("sealstream_missing_ranges", CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                    ((0, "green"), (1, "yellow")),
                ),
                Panel(
                    "Refused signatures",
                    "Events that were not signed as they should be, in the time shown.",
                    "short",
                    (
                        (
                            appeared("sealstream_statements_total", f'{CHAIN}, action="signature.refused"', "chain"),
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Producers",
                    "How many are remembered.",
                    "short",
                    ((by("sealstream_producers", CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                ),
                Panel(
                    "Refused, repeated, dead letters",
                    "By hour. A repeat is harmless: it was sealed before.",
                    "short",
                    (
                        (
                            hourly("sealstream_refused_records_total", CHAIN, "chain"),
                            "refused {{chain}}",
                        ),
                        (
                            hourly("sealstream_repeated_records_total", CHAIN, "chain"),
                            "repeated {{chain}}",
                        ),
                        (
                            hourly("sealstream_dead_letters_total", CHAIN, "chain"),
                            "dead letters {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Gaps",
                    "`producer.gap` statements, by hour, and how many runs are missing.",
                    "short",
                    (
                        (
                            hourly("sealstream_producer_gaps_total", CHAIN, "chain"),
                            "gaps an hour {{chain}}",
                        ),
                        (by("sealstream_missing_ranges", CHAIN, "chain", over="max"), "missing {{chain}}"),
                    ),
                    columns=6,
                ),
                Panel(
                    "What the log says itself",
                    "Statements of the sequencer, by action and hour: gaps, conflicts, refused signatures, lost input.",
                    "short",
                    (
                        (
                            appeared(
                                "sealstream_statements_total",
                                f'{CHAIN}, action!="chain.heartbeat"',
                                "action",
                                over="1h",
                            ),
                            "{{action}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Producers' clocks",
                    "Broker's time minus an event's own: below 0 a clock is ahead, above it the event came late.",
                    "s",
                    (
                        (
                            by(
                                "sealstream_producer_clock_skew_seconds",
                                f'{CHAIN}, bound="least"',
                                "chain",
                                over="min",
                            ),
                            "least {{chain}}",
                        ),
                        (
                            by(
                                "sealstream_producer_clock_skew_seconds",
                                f'{CHAIN}, bound="greatest"',
                                "chain",
                                over="max",
                            ),
                            "greatest {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
            ),
        ),
    ),
)
