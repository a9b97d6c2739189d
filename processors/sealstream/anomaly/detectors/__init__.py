"""The detectors, one a file. A new one is a class in a file of its own here, and a line in `DETECTORS`.

Those of the pipeline itself, which read other things than activity, are in `PIPELINE_DETECTORS`.
"""

from collections.abc import Mapping
from typing import Any

from sealstream.anomaly.detectors.access_spike import AccessSpike
from sealstream.anomaly.detectors.break_glass_without_reason import BreakGlassWithoutReason
from sealstream.anomaly.detectors.checkpoint_late import CheckpointLate
from sealstream.anomaly.detectors.dead_letters_rising import DeadLettersRising
from sealstream.anomaly.detectors.denied_scan import DeniedScan
from sealstream.anomaly.detectors.dormant_actor import DormantActor
from sealstream.anomaly.detectors.failed_login_burst import FailedLoginBurst
from sealstream.anomaly.detectors.first_seen import FirstSeen
from sealstream.anomaly.detectors.mass_export import MassExport
from sealstream.anomaly.detectors.mass_read import MassRead
from sealstream.anomaly.detectors.password_spray import PasswordSpray
from sealstream.anomaly.detectors.privilege_change_then_use import PrivilegeChangeThenUse
from sealstream.anomaly.detectors.producer_gap import ProducerGap
from sealstream.anomaly.detectors.review_overdue import ReviewOverdue
from sealstream.anomaly.detectors.service_as_person import ServiceAsPerson
from sealstream.anomaly.detectors.silence import Silence
from sealstream.anomaly.detectors.sink_lagging import SinkLagging
from sealstream.anomaly.detectors.unusual_hour import UnusualHour

__all__ = ["DETECTORS", "PIPELINE_DETECTORS"]

DETECTORS: Mapping[str, type[Any]] = {
    each.name: each
    for each in (
        FailedLoginBurst,
        PasswordSpray,
        AccessSpike,
        UnusualHour,
        FirstSeen,
        MassRead,
        MassExport,
        DeniedScan,
        PrivilegeChangeThenUse,
        BreakGlassWithoutReason,
        DormantActor,
        ServiceAsPerson,
    )
}
"""By name, in the order in which `sealstream anomaly` lists them."""

PIPELINE_DETECTORS: Mapping[str, type[Any]] = {
    each.name: each for each in (Silence, ProducerGap, DeadLettersRising, CheckpointLate, SinkLagging, ReviewOverdue)
}
"""The same of the pipeline's own."""
