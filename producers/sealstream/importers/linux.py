"""What sshd, sudo, su, PAM, useradd and logind write to a Linux host's log: lines of auth.log, entries of journald.

A message that is known becomes what it says (who signed in from where, who ran what as whom); any other becomes an
event of its program, so that no line is lost. `auth.log` in syslog's old form names neither year nor zone: the zone is
given, the year is given or follows from the file's time. Pure.

Names and folders in a message are a stranger's words: an address or a principal is taken only where they can't put
another in its place; where they could, it is not said, and the message says it all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from sealstream.errors import InvalidEvent
from sealstream.events import format_timestamp
from sealstream.importers.records import Fields, Importer
from sealstream.importers.values import address, first, milliseconds, rfc3339, shown

__all__ = ["JOURNALD", "auth_log"]

_LINE = re.compile(
    r"(?:<[0-9]{1,3}>)?(?:(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+)|(?P<old>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8})) "
    r"(?P<host>\S+) (?P<program>[^\s\[:]+)(?:\[(?P<pid>[0-9]+)\])?: ?(?P<message>.*)",
    re.S,
)
_REPEATED = re.compile(r"message repeated ([0-9]+) times: \[ ?(.*)\]$", re.S)
_SSH = re.compile(
    r"(?P<said>Accepted|Failed|Postponed) (?P<how>\S+) for "
    r"(?:(?P<invalid>invalid user )(?P<stranger>.*)|(?P<user>\S+)) "
    r"from (?P<ip>\S+) port (?P<port>[0-9]+)",
    re.S,
)
_SSH_INVALID = re.compile(r"Invalid user (?P<user>.*) from (?P<ip>\S+)(?: port (?P<port>[0-9]+))?$", re.S)
_SSH_CLOSED = re.compile(
    r"(?:Disconnected from|Connection (?:closed|reset) by|Received disconnect from) "
    r"(?:invalid user (?P<stranger>.*) (?P<its_ip>[0-9A-Fa-f.:]+) port [0-9]+|"
    r"(?:(?:authenticating )?user (?P<user>\S+) )?(?P<ip>[0-9A-Fa-f.:]+)(?: port (?P<port>[0-9]+))?)",
    re.S,
)
_SUDO = re.compile(
    r"\s*(?P<user>\S+) : (?:(?P<why>[^;=]+?) ; )?(?:TTY=(?P<tty>[^;]*?) ; )?(?:PWD=(?P<pwd>.*?) ; )?"
    r"USER=(?P<as>\S+)(?: ; GROUP=\S+)?(?: ; TSID=\S+)?(?: ; ENV=.*?)?(?: ; COMMAND=(?P<command>.*))?$",
    re.S,
)
_SU = re.compile(r"(?P<failed>FAILED SU )?\(to (?P<as>\S+)\) (?P<user>\S+) on (?P<tty>\S+)")
_SESSION = re.compile(
    r"pam_\w+\((?P<service>[^:)]+)[^)]*\): session (?P<said>opened|closed) for user (?P<user>[^\s(]+)"
)
_PAM_FAILURE = re.compile(
    r"pam_\w+\((?P<service>[^:)]+)[^)]*\): authentication failure; "
    r".*?ruser=(?P<ruser>\S*) rhost=(?P<ip>\S*)(?:\s+user=(?P<user>\S+))?"
)
_ACCOUNT = re.compile(r"(?P<what>new user|new group|delete user|delete group|change user|add|password changed)\b.*?")
_NAMED = re.compile(r"(?:name=|user |user '|for |for ')'?(?P<name>[A-Za-z0-9_.$-]+)")
_LOGIND = re.compile(r"(?P<said>New|Removed) session (?P<session>\S+?)(?: of user (?P<user>\S+?))?\.$")
_ACCOUNT_PROGRAMS = {"useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "passwd", "chage", "gpasswd"}


def auth_log(year: int | None = None, zone: tzinfo = UTC) -> Importer:
    """Lines of auth.log or secure. `year`, `zone`: of times that name none; without a year, that of the file's time."""

    def of_file(modified: datetime | None) -> Callable[[Any], Fields]:
        return lambda line: _of_line(line, year, zone, modified)

    return Importer("authlog", "lines", of_file(None), from_=_FROM, of_file=of_file)


def _of_line(line: str, year: int | None, zone: tzinfo, modified: datetime | None) -> Fields:
    found = _LINE.match(line)
    if found is None:
        raise InvalidEvent(f"line is none of syslog: expected time, host, program: message, got {shown(line)}")
    if found["iso"]:
        when = rfc3339(found["iso"], "timestamp")
    else:
        when = _old_time(found["old"], year, zone, modified)
    return _event(found["program"], found["message"], found["host"], found["pid"], when)


def _old_time(text: str, year: int | None, zone: tzinfo, modified: datetime | None) -> str:
    latest = (modified or datetime.now(UTC)).astimezone(zone) + timedelta(days=1)
    years = [year] if year is not None else [latest.year, latest.year - 1]
    for each in years:
        try:
            moment = datetime.strptime(f"{each} {text}", "%Y %b %d %H:%M:%S").replace(tzinfo=zone)
        except ValueError:
            continue  # the 29th of February of a year that has none
        if year is not None or moment <= latest:
            return format_timestamp(moment)
    raise InvalidEvent(f"timestamp is no day of {' or '.join(map(str, years))}: got {shown(text)}", "timestamp")


def _of_journal(record: Any) -> Fields:
    if not isinstance(record, dict):
        raise InvalidEvent(f"record is no object: expected what `journalctl -o json` prints, got {shown(record)}")
    when = first(record.get("_SOURCE_REALTIME_TIMESTAMP"), record.get("__REALTIME_TIMESTAMP"))
    if when is None:
        raise InvalidEvent("__REALTIME_TIMESTAMP is missing: expected what `journalctl -o json` prints", "timestamp")
    program = first(_said(record.get("SYSLOG_IDENTIFIER")), _said(record.get("_COMM")), "unknown")
    fields = _event(
        program,
        _said(record.get("MESSAGE")) or "",
        _said(record.get("_HOSTNAME")) or "unknown",
        _said(record.get("_PID")) or _said(record.get("SYSLOG_PID")),
        milliseconds(when, "__REALTIME_TIMESTAMP", 1_000_000),
    )
    fields["id"] = record.get("__CURSOR")
    fields["metadata"] |= {"unit": _said(record.get("_SYSTEMD_UNIT")), "uid": _said(record.get("_UID"))}
    return fields


def _said(value: Any) -> str | None:
    """A field of the journal: text, bytes as a list of numbers, or several values of which the first counts."""
    if isinstance(value, list) and value:
        if all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return _said(value[0])
    return value if isinstance(value, str) and value else None


def _event(program: str, message: str, host: str, pid: str | None, when: str) -> Fields:
    repeated = _REPEATED.match(message)
    text = repeated[2] if repeated else message
    fields: Fields = {
        "timestamp": when,
        "actor_id": program,
        "actor_type": "system",
        "action": f"{program.partition('(')[0]}:message",
        "resource_type": "host",
        "resource_id": host,
        "result": "success",
    }
    for program_names, know in _KNOWN:
        if (program_names is None or _bare(program) in program_names) and (known := know(text, host)) is not None:
            fields |= known
            break
    else:
        if _bare(program) in _ACCOUNT_PROGRAMS:
            fields |= _account(_bare(program), text, host)
    metadata = {
        "message": message,
        "program": program,
        "pid": pid,
        "repeated": int(repeated[1]) if repeated else None,
    }
    fields["metadata"] = metadata | fields.get("metadata", {})
    fields["source"] = {"service": program, "host": host}
    return fields


def _bare(program: str) -> str:
    name = program.rpartition("/")[2].partition("(")[0]
    return "sshd" if name in ("sshd-session", "sshd-auth") else name  # OpenSSH 9.8 and later


def _person(user: str | None) -> dict[str, Any]:
    return {"actor_id": user, "actor_type": "admin" if user == "root" else "user"} if user else {}


def _ssh(text: str, host: str) -> Fields | None:
    if found := _SSH.match(text):
        accepted = found["said"] == "Accepted"
        user = found["stranger"] if found["invalid"] else found["user"]
        metadata = {"method": found["how"], "port": found["port"], "invalid_user": bool(found["invalid"]) or None}
        if found["said"] == "Postponed":
            return {"action": "sshd:postponed", **_person(user), **address(found["ip"])}
        return {
            "action": "sshd:login",
            "result": "success" if accepted else "failure",
            **_person(user or "anonymous"),
            **address(found["ip"]),
            "metadata": metadata,
        }
    if found := _SSH_INVALID.match(text):
        return {
            "action": "sshd:invalid_user",
            "result": "failure",
            **_person(found["user"] or "anonymous"),
            **address(found["ip"]),
        }
    if found := _SSH_CLOSED.match(text):
        user, ip = found["user"] or found["stranger"], found["ip"] or found["its_ip"]
        return {"action": "sshd:disconnect", **_person(user), **address(ip)}
    return None


def _sudo(text: str, host: str) -> Fields | None:
    found = _SUDO.match(text)
    if found is None:
        return None
    why = (found["why"] or "").strip()
    denied = "NOT in sudoers" in why or "not allowed" in why
    fields = {
        "action": "sudo:run",
        **_person(found["user"]),
        "result": "denied" if denied else "failure" if why else "success",
        "reason": why or None,
    }
    if text.count(" ; USER=") > 1:  # in a folder's name, or in the command: which is sudo's own can't be told
        return fields | {"metadata": {"unclear": "USER= stands more than once: see the message"}}
    return fields | {
        "on_behalf_of": found["as"],
        "resource_type": "command",
        "resource_id": found["command"] or host,
        "metadata": {"directory": found["pwd"], "terminal": found["tty"]},
    }


def _su(text: str, host: str) -> Fields | None:
    found = _SU.match(text)
    if found is None:
        return None
    result = "failure" if found["failed"] else "success"
    return {"action": "su:become", **_person(found["user"]), "on_behalf_of": found["as"], "result": result}


def _pam(text: str, host: str) -> Fields | None:
    if found := _SESSION.match(text):
        said = {"opened": "open", "closed": "close"}[found["said"]]
        return {"action": f"{found['service']}:session.{said}", **_person(found["user"])}
    if found := _PAM_FAILURE.match(text):
        return {
            "action": f"{found['service']}:authentication",
            "result": "failure",
            **_person(found["ruser"] or found["user"] or "anonymous"),
            **({"on_behalf_of": found["user"]} if found["ruser"] and found["user"] else {}),
            **address(found["ip"]),
        }
    return None


def _logind(text: str, host: str) -> Fields | None:
    found = _LOGIND.match(text)
    if found is None:
        return None
    said = "open" if found["said"] == "New" else "close"
    return {"action": f"logind:session.{said}", **_person(found["user"]), "session_id": found["session"]}


def _account(program: str, text: str, host: str) -> Fields:
    what = _ACCOUNT.match(text)
    name = _NAMED.search(text)
    return {
        "action": f"{program}:{what['what'].replace(' ', '_') if what else 'change'}",
        "actor_type": "admin",
        "resource_type": "group" if program.startswith("g") and program != "gpasswd" else "account",
        "resource_id": name["name"] if name else host,
        "result": "failure" if "fail" in text.lower() else "success",
    }


_KNOWN: tuple[tuple[set[str] | None, Callable[[str, str], Fields | None]], ...] = (
    ({"sshd"}, _ssh),
    ({"sudo"}, _sudo),
    ({"su"}, _su),
    ({"systemd-logind"}, _logind),
    (None, _pam),
)
_FROM = {
    "id": "made of the line, its time, and how often it stood in the file before",
    "timestamp": "the line's time",
    "actor_id": "the user whom the message names, else the program",
    "actor_type": "root is admin, other users user, a program system",
    "on_behalf_of": "as whom (sudo, su)",
    "action": "the program, a colon, what the message says: login, run, session.open, ...; message where it is unknown",
    "resource_type": "command (sudo), account or group (useradd, ...), else host",
    "resource_id": "the command, the account, the host",
    "result": "as the message says",
    "ip_address": "from where, as the message says",
    "source.host": "the line's host",
}

JOURNALD = Importer(
    "journald",
    "json",
    _of_journal,
    from_={**_FROM, "id": "made of __CURSOR", "timestamp": "_SOURCE_REALTIME_TIMESTAMP, else __REALTIME_TIMESTAMP"},
)
