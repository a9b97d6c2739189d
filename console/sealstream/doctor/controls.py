"""What is asked of an audit log, control by control: which checks speak for it, and what no software can tell.

The words are our own, and short: what counts is the text of each standard. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CONTROL_SETS", "Control", "ControlSet"]


class Control(NamedTuple):
    """One control. `asks`: what it asks for; `checks`: ids; `remains`: what is not testable by software."""

    id: str
    asks: str
    checks: tuple[str, ...]
    remains: str = ""


class ControlSet(NamedTuple):
    """A standard's controls that concern the log. `name`: as `--control` takes it."""

    name: str
    title: str
    controls: tuple[Control, ...]


_APPEND_ONLY = ("postgres.privileges", "postgres.forbidden", "postgres.triggers")
_WORM = ("archive.object_lock", "archive.versioning", "archive.forbidden", "archive.locks")
_TAMPER = ("chain.verified", "chain.signed")
_KAFKA_WRITERS = ("kafka.authorization", "kafka.separation", "kafka.forbidden")
_LOGINS = ("kafka.authentication", "postgres.authentication", "archive.private")
_TLS = ("kafka.tls", "postgres.tls", "archive.tls")
_SECRETS = ("secrets.files", "secrets.credentials", "chain.key")
_WATCH = ("watch.activity", "watch.detectors", "watch.pipeline")
_AROUND = ("postgres.pgaudit", "postgres.connections", "archive.recorded")
_CLOCKS = ("clocks.agree", "clocks.kept", "entries.ordered")
_BACKUP = ("archive.complete", "archive.whole", "archive.separate")
_WHOLE = ("chain.alive", "input.accounted", "input.whole")

_CHECKLIST = ControlSet(
    "checklist",
    "The ten points of an audit log",
    (
        Control("1", "actor, action, resource, time, address and result of each event", ("entries.complete",)),
        Control("2", "tamper-evidence: a hash chain, and signatures", (*_TAMPER, "chain.key")),
        Control("3", "append-only storage: UPDATE and DELETE refused, or Object Lock", (*_APPEND_ONLY, *_WORM)),
        Control("4", "logs are collected in one place, not in files that can be deleted", _WHOLE),
        Control(
            "5",
            "retention as the regulation wants it",
            ("retention.year", "retention.promised", "retention.online", "archive.locks"),
            "which regulation applies: choose its set (hipaa, pci, soc2), which asks for its own time",
        ),
        Control("6", "alerts for what is unusual", (*_WATCH, "alerts.forwarded")),
        Control(
            "7", "somebody reviews the log, again and again", ("reviews.signed",), "that a review was done with care"
        ),
        Control("8", "who reads the log is in the log", ("access.recorded", *_AROUND)),
        Control("9", "a backup apart from the primary store", _BACKUP),
        Control("10", "WORM storage for what is archived", _WORM),
    ),
)

_SOC2 = ControlSet(
    "soc2",
    "SOC 2 (Trust Services Criteria 2017, points of focus of 2022)",
    (
        Control(
            "CC6.1",
            "logical access to protected information is restricted to whom it is meant for",
            (*_TLS, *_LOGINS, *_KAFKA_WRITERS, *_APPEND_ONLY, *_SECRETS, "archive.forbidden"),
            "who decides on access, and how often it is reviewed; access to the applications that send events",
        ),
        Control(
            "CC7.2",
            "systems are watched for what is unusual and may be an incident",
            (*_TAMPER, *_WHOLE, *_WATCH, "entries.complete", "recorded.failures", "access.recorded"),
            "that the detectors' thresholds fit the organisation",
        ),
        Control(
            "CC7.3",
            "security events are evaluated, and acted upon; what was recorded of them lasts (a year is usual)",
            ("alerts.forwarded", "alerts.acknowledged", "reviews.signed", "retention.year"),
            "the procedure for incidents, and that those who judge alerts are able to",
        ),
    ),
)

_HIPAA = ControlSet(
    "hipaa",
    "HIPAA Security Rule (45 CFR 164)",
    (
        Control(
            "164.312(b)",
            "audit controls: record and examine activity where there is ePHI",
            ("entries.complete", "access.recorded", *_WHOLE, *_AROUND),
            "that every system with ePHI sends its events",
        ),
        Control(
            "164.308(a)(1)(ii)(D)",
            "records of activity are reviewed regularly",
            ("reviews.signed", "alerts.acknowledged"),
            "the written procedure for the review",
        ),
        Control(
            "164.312(c)(2)",
            "a mechanism that shows that ePHI was not altered or destroyed without right",
            (*_TAMPER, *_APPEND_ONLY, *_WORM),
            "the same for the ePHI itself: the log shows what was recorded of it",
        ),
        Control(
            "164.316(b)(2)(i)",
            "documentation is kept for six years",
            ("retention.six_years", "retention.promised", "archive.locks", "archive.whole"),
            "the policies and procedures themselves, which are kept elsewhere",
        ),
    ),
)

_PCI = ControlSet(
    "pci",
    "PCI DSS 4.0.1, requirement 10",
    (
        Control(
            "10.2.1",
            "audit logs are enabled and active",
            ("chain.alive", "input.accounted", "input.whole"),
            "that every system component sends its events",
        ),
        Control(
            "10.2.1.1",
            "each individual's access to cardholder data is recorded",
            ("entries.complete",),
            "that applications report each access; look with `sealstream ask resource`",
        ),
        Control("10.2.1.2", "what administrators do is recorded", ("recorded.administrators",)),
        Control("10.2.1.3", "access to audit logs is recorded", ("access.recorded", *_AROUND)),
        Control("10.2.1.4", "invalid attempts at access are recorded", ("recorded.failures", "recorded.logins")),
        Control(
            "10.2.1.5",
            "changes of credentials and rights are recorded",
            (),
            "that applications report them: `sealstream report` counts those that come, by the action's name",
        ),
        Control("10.2.1.6", "starts, stops and pauses of the log are recorded", ("recorded.life",)),
        Control(
            "10.2.1.7",
            "creation and deletion of system-level objects are recorded",
            (),
            "that the systems report them: `sealstream import` brings in auth.log, journald, CloudTrail, Kubernetes",
        ),
        Control("10.2.2", "who, what kind, when, result, from where, which component", ("entries.complete",)),
        Control(
            "10.3.1",
            "only those with a need read audit logs",
            (*_LOGINS, "postgres.privileges", "kafka.authorization", *_SECRETS),
            "who has the need",
        ),
        Control("10.3.2", "audit logs can't be modified", (*_APPEND_ONLY, *_KAFKA_WRITERS, *_WORM)),
        Control("10.3.3", "audit logs are promptly backed up to a store of their own", _BACKUP),
        Control("10.3.4", "a change of existing logs is noticed", (*_TAMPER, "watch.pipeline")),
        Control(
            "10.4.1",
            "logs are reviewed at least daily",
            ("reviews.daily", "reviews.signed"),
            "that a review was done with care",
        ),
        Control("10.4.1.1", "mechanisms review them automatically", _WATCH),
        Control("10.4.2", "logs of all other components are reviewed periodically", ("reviews.signed",)),
        Control("10.4.2.1", "how often, by a targeted risk analysis", (), "the risk analysis"),
        Control(
            "10.4.3",
            "what reviews find is addressed",
            ("alerts.acknowledged", "input.accounted"),
            "that what was decided was done",
        ),
        Control(
            "10.5.1",
            "twelve months are kept, three of them at hand",
            ("retention.pci", "retention.online", "retention.promised", "archive.locks"),
        ),
        Control("10.6.1", "clocks are synchronised", _CLOCKS, "each host's own time service; this one's was asked"),
        Control(
            "10.6.2", "time comes from designated servers, which agree", ("clocks.agree",), "which servers those are"
        ),
        Control(
            "10.6.3", "the settings of time are protected, and their changes recorded", (), "who may set the clocks"
        ),
        Control(
            "10.7.1",
            "failures of critical controls are detected, alerted and addressed (service providers)",
            ("watch.pipeline", "alerts.forwarded", "alerts.acknowledged"),
        ),
        Control(
            "10.7.2",
            "failures of critical controls are detected, alerted and addressed",
            ("watch.pipeline", "alerts.forwarded", "alerts.acknowledged"),
            "controls outside the log: firewalls, anti-malware, segmentation",
        ),
        Control(
            "10.7.3",
            "failures are answered: restored, their duration and cause recorded",
            ("alerts.acknowledged",),
            "the causes, and what was done against them",
        ),
    ),
)

_ISO = ControlSet(
    "iso27001",
    "ISO/IEC 27001:2022, Annex A",
    (
        Control(
            "A.8.15",
            "logs are produced, kept, protected and analysed",
            (
                *(
                    "entries.complete",
                    "entries.redacted",
                    "recorded.failures",
                    "recorded.administrators",
                    "recorded.life",
                ),
                *(*_WHOLE, *_TAMPER, *_APPEND_ONLY, *_WORM, "retention.promised", "access.recorded"),
            ),
            "what is to be logged, as a topic-specific policy says",
        ),
        Control(
            "A.8.16",
            "networks, systems and applications are monitored, and anomalies evaluated",
            (*_WATCH, "alerts.forwarded", "alerts.acknowledged", "reviews.signed"),
            "the monitoring of networks and systems beside the log",
        ),
        Control("A.8.17", "clocks are synchronised to approved sources", _CLOCKS, "which sources are approved"),
    ),
)

_NIST = ControlSet(
    "nist",
    "NIST SP 800-53 revision 5, family AU",
    (
        Control(
            "AU-2",
            "which events are logged is decided, and reviewed",
            ("recorded.failures", "recorded.administrators"),
            "the decision, and its rationale",
        ),
        Control("AU-3", "what a record says: what, when, where, source, outcome, who", ("entries.complete",)),
        Control(
            "AU-4",
            "storage is large enough",
            (),
            "the room on the disks of Kafka and Postgres: watched by your monitoring (docs/scale.md says how much)",
        ),
        Control(
            "AU-5",
            "failures of logging are alerted, and answered",
            ("watch.pipeline", "alerts.forwarded", "input.accounted", "input.whole"),
        ),
        Control(
            "AU-6",
            "records are reviewed, analysed and reported",
            ("reviews.signed", *_WATCH, "alerts.acknowledged"),
            "that findings reach whom they concern",
        ),
        Control(
            "AU-7",
            "records can be reduced and reported without being altered",
            ("chain.verified", "access.recorded"),
            "that the reports serve those who read them (`sealstream search`, `sealstream report`)",
        ),
        Control("AU-8", "time stamps by a clock that is kept", _CLOCKS),
        Control(
            "AU-9",
            "audit information and tools are protected",
            (*_APPEND_ONLY, *_WORM, *_KAFKA_WRITERS, *_LOGINS, *_SECRETS, *_TLS, *_BACKUP),
        ),
        Control(
            "AU-10",
            "evidence that an individual has done something (non-repudiation)",
            (*_TAMPER, "entries.complete"),
            "that an application says the truth about who acted; who signs at the source narrows it "
            "(docs/signed-at-source.md)",
        ),
        Control(
            "AU-11",
            "records are kept as long as the policy says",
            ("retention.promised", "retention.online", "archive.locks"),
            "the policy",
        ),
        Control(
            "AU-12",
            "records are generated where they should be, on a system-wide time",
            (*_WHOLE, "entries.complete", "clocks.agree"),
            "that every component that should generates them",
        ),
    ),
)

_SEC = ControlSet(
    "sec17a4",
    "SEC Rule 17a-4(f) (17 CFR 240.17a-4, as amended in 2022)",
    (
        Control(
            "(f)(2)(i)(A)",
            "a complete time-stamped audit trail: each change and deletion, when and by whom",
            ("chain.verified", "entries.complete", "entries.ordered", "access.recorded"),
            "that the books and records themselves are kept in a system of record",
        ),
        Control("(f)(2)(i)(B)", "records in a non-rewriteable, non-erasable format", _WORM),
        Control(
            "(f)(2)(ii)",
            "completeness and accuracy of storage are verified automatically",
            (*_TAMPER, "archive.whole", "archive.complete"),
        ),
        Control(
            "(f)(2)(iii)", "records are serialised and time-dated", ("entries.ordered", "chain.verified", *_CLOCKS)
        ),
        Control(
            "(f)(2)(iv)",
            "records can be downloaded in a readable form",
            ("archive.whole",),
            "a download for the examiner: `sealstream archive copy`, `sealstream search --all`",
        ),
        Control("(f)(2)(v)", "a backup, or redundancy, retains the records", _BACKUP),
        Control(
            "(b), (e)", "three to six years", ("retention.six_years", "archive.locks"), "which of the times applies"
        ),
        Control(
            "(f)(3)",
            "an examiner is given access; a third party or an executive officer undertakes it",
            (),
            "the undertaking, filed with the examining authority",
        ),
    ),
)

_GDPR = ControlSet(
    "gdpr",
    "GDPR (Regulation (EU) 2016/679)",
    (
        Control(
            "5(1)(e)",
            "personal data is kept no longer than its purpose needs",
            ("retention.limited", "retention.promised"),
            "the purpose, and how long it lasts",
        ),
        Control(
            "17",
            "erasure of a person's data",
            (),
            "nothing can be taken out of a sealed entry before its lock ends: keep personal data out, or pseudonymous, "
            "and decide which exception applies (17(3)(b), legal obligation)",
        ),
        Control(
            "30",
            "records of processing activities",
            (),
            "the records themselves: that the log is kept, of whom, why and for how long, is an entry in them",
        ),
        Control(
            "32",
            "security of processing: confidentiality, integrity, availability, and that they are tested",
            (
                *_TLS,
                *_LOGINS,
                *_SECRETS,
                *_KAFKA_WRITERS,
                *_TAMPER,
                *_BACKUP,
                "archive.forbidden",
                "access.recorded",
                "entries.redacted",
            ),
            "what is appropriate to the risk; drills of the restore (docs/runbooks/README.md)",
        ),
    ),
)

CONTROL_SETS: dict[str, ControlSet] = {
    each.name: each for each in (_CHECKLIST, _SOC2, _HIPAA, _PCI, _ISO, _NIST, _SEC, _GDPR)
}
"""By name, in the order in which they are shown."""
