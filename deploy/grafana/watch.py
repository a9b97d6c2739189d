"""The dashboard `watch`. Who looks for what is unusual, what they have found, and whether anybody was told. Pure."""

from __future__ import annotations

from grafana.panels import BAD_GOOD, CHAIN, GOOD_BAD, MINE, Dashboard, Panel, by, grown, hourly, rate

__all__ = ["DASHBOARD"]

DASHBOARD = Dashboard(
    "sealstream-watch",
    "Sealstream: watch",
    "Who looks for what is unusual, what they have found, and whether anybody was told.",
    (
        (
            "Alerts",
            (
                Panel(
                    "Alerts",
                    "Alerts written in the time shown, by the watch over what people do and over the pipeline itself.",
                    "short",
                    ((grown("sealstream_alerts_raised_total", MINE, "process"), "{{process}}"),),
                    "stat",
                    6,
                ),
                Panel(
                    "Alerts that no chain was told of",
                    "They stand in the topic of alerts alone.",
                    "short",
                    ((grown("sealstream_alerts_unsealed_total", MINE, "process"), "{{process}}"),),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Overdue reviews",
                    "Periods whose review is overdue, of the newest 60.",
                    "short",
                    ((by("sealstream_reviews_overdue", CHAIN, "chain", over="max"), "{{chain}}"),),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Passed over",
                    "Records of activity that could not be understood, and those at which a detector failed.",
                    "short",
                    (
                        (grown("sealstream_malformed_records_total", MINE, "process"), "not understood"),
                        (grown("sealstream_detector_failures_total", MINE, "process"), "a detector failed"),
                    ),
                    "stat",
                    6,
                    GOOD_BAD,
                ),
                Panel(
                    "Alerts an hour",
                    "New ones, and those that were found again after a restart and are in the chain already.",
                    "short",
                    (
                        (
                            hourly("sealstream_alerts_raised_total", MINE, "process"),
                            "raised by {{process}}",
                        ),
                        (
                            hourly("sealstream_alerts_known_total", MINE, "process"),
                            "found again by {{process}}",
                        ),
                    ),
                    columns=24,
                ),
            ),
        ),
        (
            "Detectors' workers",
            (
                Panel(
                    "Workers that are ready",
                    "Of the watch over what everybody does. None: nobody looks.",
                    "short",
                    ((f"sum(sealstream_anomaly_worker_ready{{{MINE}}}) or vector(0)", "ready"),),
                    "stat",
                    6,
                    BAD_GOOD,
                ),
                Panel(
                    "Partitions",
                    "Of the activity that each worker looks after.",
                    "short",
                    ((f"sealstream_anomaly_worker_partitions{{{MINE}}}", "{{instance}}"),),
                    columns=6,
                ),
                Panel(
                    "Records a second",
                    "Records of activity that went through all detectors.",
                    "ops",
                    ((rate("sealstream_watched_records_total", MINE, "instance"), "{{instance}}"),),
                    columns=6,
                ),
                Panel(
                    "How late",
                    "How long the oldest record of activity has waited for a worker, and how long entries wait to be counted.",
                    "s",
                    (
                        (f'max(sealstream_lag_seconds{{{MINE}, process="anomaly"}})', "detectors"),
                        (
                            by("sealstream_lag_seconds", f'{CHAIN}, process="activity"', "chain", over="max"),
                            "activity {{chain}}",
                        ),
                    ),
                    columns=6,
                ),
                Panel(
                    "Activity",
                    "Records of who did what in each second, written a second.",
                    "ops",
                    ((rate("sealstream_activity_records_total", CHAIN, "chain"), "{{chain}}"),),
                    columns=12,
                ),
                Panel(
                    "Looks at the pipeline",
                    "How often each chain is looked at by the watch over the pipeline, a minute.",
                    "short",
                    (
                        (
                            "60 * " + rate("sealstream_batches_total", f'{CHAIN}, process="watch"', "chain"),
                            "{{chain}}",
                        ),
                    ),
                    columns=12,
                ),
            ),
        ),
        (
            "Who is told",
            (
                Panel(
                    "Messages",
                    "Those that each target took, a second.",
                    "ops",
                    ((rate("sealstream_forwarded_total", MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Attempts that failed",
                    "Tried again, at growing pauses.",
                    "short",
                    ((hourly("sealstream_forward_failures_total", MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Letters",
                    "Messages that a target refused, by hour: `sealstream forward list` says why.",
                    "short",
                    ((hourly("sealstream_forward_letters_total", MINE, "target"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "How late",
                    "How long the oldest message has waited for its target.",
                    "s",
                    ((by("sealstream_forward_lag_seconds", MINE, "target", over="max"), "{{target}}"),),
                    columns=6,
                ),
                Panel(
                    "Waiting",
                    "Records that wait for each target.",
                    "short",
                    ((by("sealstream_forward_lag_messages", MINE, "target", over="max"), "{{target}}"),),
                    columns=24,
                ),
            ),
        ),
    ),
)
