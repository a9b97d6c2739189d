"""The sequencer: places every event, seals it behind the one before, and accounts for every offset of its inputs."""

from sealstream.sequencer.batch import sealed_time
from sealstream.sequencer.group import SequencerGroup
from sealstream.sequencer.judging import MAX_DEAD_LETTER_BYTES, judge_record
from sealstream.sequencer.owned import Pace
from sealstream.sequencer.publishing import ClocksApart
from sealstream.sequencer.sequencer import Sequencer

__all__ = [
    "MAX_DEAD_LETTER_BYTES",
    "ClocksApart",
    "Pace",
    "Sequencer",
    "SequencerGroup",
    "judge_record",
    "sealed_time",
]
