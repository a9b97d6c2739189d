"""Names and shapes: topics, tables, archive paths, Parquet schema, segments. Pure; the only spelling of each."""

from sealstream.layout.chains import (
    RETENTION_HELP,
    ChainSettings,
    Retention,
    SegmentLimits,
    check_chain_name,
    check_log_name,
    longest_retention,
    month_leaves,
    named_retention,
    read_retention,
    retention_members,
    shortens,
)
from sealstream.layout.entries import HOT_COLUMNS, Entry, WrittenFields, decode_entry
from sealstream.layout.figures import Alarm, Figure, Figures
from sealstream.layout.outbox import DEFAULT_OUTBOX, OUTBOX_PRODUCER, OUTBOX_SPARE_BYTES, OutboxTables
from sealstream.layout.segments import Cut, SegmentCutter
from sealstream.layout.topics import (
    DEFAULT_PREFIX,
    ChainTopics,
    CheckpointHeaders,
    TopicConfig,
    checkpoint_headers,
    checkpointing_transactional_id,
    parse_checkpoint_headers,
    sequencer_group,
    sequencer_transactional_id,
)

__all__ = [
    "DEFAULT_OUTBOX",
    "DEFAULT_PREFIX",
    "HOT_COLUMNS",
    "OUTBOX_PRODUCER",
    "OUTBOX_SPARE_BYTES",
    "RETENTION_HELP",
    "Alarm",
    "ChainSettings",
    "ChainTopics",
    "CheckpointHeaders",
    "Cut",
    "Entry",
    "Figure",
    "Figures",
    "OutboxTables",
    "Retention",
    "SegmentCutter",
    "SegmentLimits",
    "TopicConfig",
    "WrittenFields",
    "check_chain_name",
    "check_log_name",
    "checkpoint_headers",
    "checkpointing_transactional_id",
    "decode_entry",
    "longest_retention",
    "month_leaves",
    "named_retention",
    "parse_checkpoint_headers",
    "read_retention",
    "retention_members",
    "sequencer_group",
    "sequencer_transactional_id",
    "shortens",
]
