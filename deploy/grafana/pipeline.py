"""The dashboard `pipeline`. How much goes through, and how far behind the first event everything is. Pure."""

from __future__ import annotations

from grafana.panels import BUT_ARCHIVE, CHAIN, GOOD_BAD, MINE, SOON_LATE, Dashboard, Panel, by, hourly, named, rate

__all__ = ["DASHBOARD"]

DASHBOARD = Dashboard(
    "sealstream-pipeline",
    "Sealstream: pipeline",
    "How much goes through, and how far behind the first event everything is.",
    (
        (
            "Now",
            (
                Panel(
                    "Processes that are not ready",
                    "Those whose /readyz says no; it says why.",
                    "short",
                    ((f"count(sealstream_ready{{{MINE}}} == 0) or vector(0)", "not ready"),),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Sealed entries",
                    "How long each chain is, by the number of its last entry.",
                    "short",
                    (
                        (
                            by("sealstream_last_seq", f'{CHAIN}, process="sequencer"', "chain", over="max") + " + 1",
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                ),
                Panel(
                    "Checkpoint age",
                    "How long ago the newest checkpoint was signed. A chain without entries has a heartbeat each minute.",
                    "s",
                    ((by("sealstream_last_checkpoint_age_seconds", CHAIN, "chain", over="min"), "{{chain}}"),),
                    "stat",
                    6,
                    SOON_LATE,
                ),
                Panel(
                    "Events that wait to be sealed",
                    "How long the oldest of them has waited.",
                    "s",
                    (
                        (
                            by("sealstream_lag_seconds", f'{CHAIN}, process="sequencer"', "chain", over="max"),
                            "{{chain}}",
                        ),
                    ),
                    "stat",
                    6,
                    SOON_LATE,
                ),
            ),
        ),
        (
            "Rates",
            (
                Panel(
                    "Entries a second",
                    "Entries sealed, checked, stored, archived or counted, and events relayed or collected, by process.",
                    "ops",
                    ((rate("sealstream_entries_total", CHAIN, "process", "chain"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Entries a batch",
                    "How many a process takes at once. It grows when a process is behind, and costs less each. The archive takes "
                    "segments.",
                    "short",
                    (
                        (
                            f"{rate('sealstream_entries_total', BUT_ARCHIVE, 'process', 'chain')} / "
                            f"{rate('sealstream_batches_total', BUT_ARCHIVE, 'process', 'chain')}",
                            "{{process}} {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
            ),
        ),
        (
            "Lag and latency",
            (
                Panel(
                    "Lag in time",
                    "How long the oldest entry has waited for each process; 0 when none does. The archive waits for a "
                    "segment's end.",
                    "s",
                    ((by("sealstream_lag_seconds", CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Lag in entries",
                    "How many wait for each process.",
                    "short",
                    ((by("sealstream_lag_entries", CHAIN, "process", "chain", over="max"), "{{process}} {{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Age of the last entry",
                    "How old the newest entry is that a process has done with. A sawtooth of a minute is a quiet chain's "
                    "heartbeat.",
                    "s",
                    (
                        (
                            by(
                                "sealstream_last_seq_age_seconds",
                                BUT_ARCHIVE,
                                "process",
                                "chain",
                                over="min",
                            ),
                            "{{process}} {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
                Panel(
                    "Checkpoints a second, and their age",
                    "Signed once a second while entries come.",
                    "short",
                    (
                        (rate("sealstream_checkpoints_total", CHAIN, "chain"), "checkpoints a second {{chain}}"),
                        (
                            by("sealstream_last_checkpoint_age_seconds", CHAIN, "chain", over="min"),
                            "age in seconds {{chain}}",
                        ),
                    ),
                    columns=12,
                ),
                Panel(
                    "Time since each loop moved",
                    "A loop that stands for two minutes is killed and started by whoever looks at /healthz.",
                    "s",
                    (
                        (
                            f"time() - {by('sealstream_last_step_timestamp_seconds', MINE, 'process', 'instance', over='max')}",
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Built anew",
                    "Faults that could be waited out, by hour: a store away, a place taken by another.",
                    "short",
                    (
                        (
                            hourly("sealstream_restarts_total", MINE, "process", "instance"),
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    "Processor",
                    "Cores that each process uses.",
                    "short",
                    (
                        (
                            named(f"rate(process_cpu_seconds_total{{{MINE}}}[$__rate_interval])"),
                            "{{process}} {{instance}}",
                        ),
                    ),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Memory",
                    "What each process holds.",
                    "bytes",
                    ((named(f"process_resident_memory_bytes{{{MINE}}}"), "{{process}} {{instance}}"),),
                    columns=12,
                    legend="right",
                ),
                Panel(
                    "Versions",
                    "Which version runs where.",
                    "short",
                    ((by("sealstream_process_info", MINE, "process", "instance", "version"), ""),),
                    "table",
                    24,
                    hidden=("Value",),
                    tall=12,
                ),
            ),
        ),
    ),
)
