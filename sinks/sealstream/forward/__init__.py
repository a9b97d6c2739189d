"""The forward sink: alerts, and if wanted all entries, to webhooks, Slack, PagerDuty, Splunk, syslog, OTLP and e-mail.

At least once, in order, and no target waits for another. `Forwarding` is the process, `TargetLoop` one target's part of
it, `sender_of` what speaks to a receiver; `open_letters` and `settle` work off what receivers refused.
"""

from sealstream.forward.addresses import Guard, NotAllowed
from sealstream.forward.deadletters import RefusedLetter, message_in, open_letters, settle
from sealstream.forward.following import IsMuted, never_muted
from sealstream.forward.forwarding import Forwarding, Troubles
from sealstream.forward.messages import Message, trial_message
from sealstream.forward.outcomes import Outcome
from sealstream.forward.senders import Prepared, Sender, sender_of
from sealstream.forward.target_loop import Sources, TargetLoop
from sealstream.forward.targets import ENTRY_KINDS, FORMAT_KINDS, KINDS, Format, Kind, Target

__all__ = [
    "ENTRY_KINDS",
    "FORMAT_KINDS",
    "KINDS",
    "Format",
    "Forwarding",
    "Guard",
    "IsMuted",
    "Kind",
    "Message",
    "NotAllowed",
    "Outcome",
    "Prepared",
    "RefusedLetter",
    "Sender",
    "Sources",
    "Target",
    "TargetLoop",
    "Troubles",
    "message_in",
    "never_muted",
    "open_letters",
    "sender_of",
    "settle",
    "trial_message",
]
