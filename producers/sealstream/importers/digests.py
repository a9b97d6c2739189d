"""CloudTrail's digest files: whether the log files of a trail are those that CloudTrail delivered, and all of them.

Written from AWS's descriptions ("CloudTrail digest file structure", "Custom implementations of CloudTrail log file
integrity validation"). Each hour CloudTrail signs a digest (SHA-256 with RSA, PKCS #1 v1.5) that names the hour's log
files with the SHA-256 of their unpacked content, and the digest before it with its SHA-256 and its signature. What is
signed: the digest's end time, its bucket and key, its own SHA-256, and the signature before.

The invariant: a log file is vouched for only if its whole content, data behind the first gzip member included, has the
hash in a digest whose signature holds; and whatever time between the first digest and the last no such digest covers is
said. What is read is believed in nothing but that. A copy on a disk can be validated too: of its digests' signatures,
which S3 keeps beside the objects, all but the newest stand in the digest that follows.

Pure but for what `read` does; nothing to lose in a crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from sealstream.importers.digest_files import (
    DIGEST,
    HEX,
    HOUR,
    LOG,
    Digest,
    PublicKey,
    StoredFile,
    holds,
    log_fault,
    log_time,
    moment_of,
    to_sign,
)
from sealstream.importers.unpacking import unpacked

__all__ = ["Finding", "Validation", "validate"]

_ROOT = "AWSLogs/"

Kind = Literal["invalid", "missing", "unnamed", "unverified", "note"]


class Finding(NamedTuple):
    """What was found at a file. `invalid`, `missing` and `unnamed` (a log that no digest names) are tampering or loss;
    `unverified` could not be judged; a `note` is for the reader to weigh.
    """

    kind: Kind
    file: str
    why: str


class Validation(NamedTuple):
    """`vouched`: each log file that is as CloudTrail delivered it, with the SHA-256 (hex) of its content."""

    findings: list[Finding]
    vouched: dict[str, str]
    digests: int
    valid_digests: int
    named_logs: int

    @property
    def exit_code(self) -> int:
        """0 all holds, 1 tampering or loss, 2 something could not be judged."""
        kinds = {each.kind for each in self.findings}
        return 1 if kinds & {"invalid", "missing", "unnamed"} else 2 if "unverified" in kinds else 0


def validate(
    names: Iterable[str],
    read: Callable[[str], StoredFile | None],
    keys: Sequence[PublicKey],
    *,
    bucket: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Validation:
    """Judge all digests and logs among `names`, of whichever accounts, regions and trails.

    `names`: keys of a bucket, or paths below a folder that holds a copy. `bucket`: its name; None for a copy. `since`:
    digests that ended before need not be there. `until`: each trail's digests must reach so far; without it, that the
    newest were taken away can't show, since nothing follows them.
    """
    return _Validator(list(names), read, keys, bucket, since, until).run()


class _Validator:
    def __init__(
        self,
        names: list[str],
        read: Callable[[str], StoredFile | None],
        keys: Sequence[PublicKey],
        bucket: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> None:
        self._read = read
        self._keys = keys
        self._bucket = bucket
        self._since = since
        self._until = until
        self._findings: list[Finding] = []
        self._vouched: dict[str, str] = {}
        self._named: set[str] = set()
        self._logs = [name for name in names if LOG.search(name)]
        self._names = {self._tail(name): name for name in names}
        self._cut = ""
        self._groups: dict[tuple[str, ...], list[Digest]] = {}
        for name in names:
            if found := DIGEST.search(name):
                end = datetime.strptime(found[5], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                group = (found[1], found[2], found[3], found[4], found[6] or "")
                self._groups.setdefault(group, []).append(Digest(name, end, found[4]))

    def run(self) -> Validation:
        digests = valid = 0
        covered: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
        for group, found in sorted(self._groups.items()):
            found.sort(key=lambda each: each.end, reverse=True)
            for each in found:
                self._load(each)
            self._lend_signatures(found)
            for each in found:
                self._judge(each)
            if not group[4]:  # what was delivered late has digests of its own, which name no chain
                self._walk(found)
                self._judge_end(found)
            self._tell(found)
            digests += len(found)
            for each in found:
                if each.valid:
                    valid += 1
                    covered.setdefault((group[0], group[1]), []).append((each.start, each.end))
                    self._judge_logs(each)
        if not digests:
            self._find(
                "unverified", "", "there are no digest files: expected .../CloudTrail-Digest/... among the files"
            )
        self._judge_unnamed(covered)
        return Validation(self._findings, self._vouched, digests, valid, len(self._named))

    def _find(self, kind: Kind, file: str, why: str) -> None:
        self._findings.append(Finding(kind, file, why))

    # --- where files are ----------------------------------------------------------------------------------------

    def _tail(self, name: str) -> str:
        """By what a key of the bucket and a path in a copy of it are the same."""
        if self._bucket is not None:
            return name
        start = name.find(_ROOT)
        return name if start < 0 else name[start:]

    def _file_of(self, key: str) -> str | None:
        tail = self._tail(key)
        return self._names.get(tail) or self._names.get(tail.removeprefix(self._cut))

    def _is_its_place(self, digest: Digest, key: str) -> bool:
        mine, told = self._tail(digest.name), self._tail(key)
        if mine == told:
            return True
        if self._bucket is not None or not told.endswith("/" + mine):
            return False
        cut = told[: -len(mine)]
        if not self._cut:
            self._cut = cut  # the copy is of a folder below AWSLogs
        return cut == self._cut

    # --- digests ------------------------------------------------------------------------------------------------

    def _load(self, digest: Digest) -> None:
        stored = self._read(digest.name)
        if stored is None:
            digest.fault = "can't be read"
            return
        members, behind = unpacked(stored.data)
        digest.contents, digest.behind = members, bool(behind)
        digest.signature = stored.signature
        try:
            digest.fields = msgspec.json.decode(members[0], type=dict[str, Any])
            digest.start = moment_of(digest.fields["digestStartTime"])
            told_end = moment_of(digest.fields["digestEndTime"])
            key = digest.fields["digestS3Object"]
            digest.fields["digestS3Bucket"], digest.fields["digestPublicKeyFingerprint"]
            if not isinstance(key, str) or not isinstance(digest.previous, str | None):
                raise TypeError
        except (IndexError, KeyError, TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            digest.fields = {}
            digest.fault = "is no digest: expected gzip of a JSON object with CloudTrail's members"
            return
        if not self._is_its_place(digest, key) or self._bucket not in (None, digest.fields["digestS3Bucket"]):
            where = f"s3://{digest.fields['digestS3Bucket']}/{key}"
            digest.fault = f"was moved from its place: expected {where}"
        elif told_end != digest.end:
            digest.fault = f"ends at {digest.fields['digestEndTime']}, and its name says another time"

    def _lend_signatures(self, digests: Sequence[Digest]) -> None:
        """In a copy, the signature of each digest but the newest stands in the one that follows it."""
        by_key = {each.fields.get("digestS3Object"): each for each in digests if each.fields}
        for each in digests:
            before = by_key.get(each.previous) if each.previous is not None else None
            if before is not None and before.signature is None:
                told = each.fields.get("previousDigestSignature")
                before.signature = told if isinstance(told, str) else None

    def _judge(self, digest: Digest) -> None:
        if digest.fault is not None:
            return
        algorithm = digest.fields.get("digestSignatureAlgorithm", "SHA256withRSA")
        if algorithm != "SHA256withRSA":
            digest.unverified = f"is signed with {algorithm}: expected SHA256withRSA"
            return
        if digest.signature is None:
            digest.unverified = (
                "has no signature here: S3 keeps it in the object's metadata (x-amz-meta-signature), and no later "
                "digest repeats it; read it from S3, or put it into a file beside, named like it and .signature"
            )
            return
        if not HEX(digest.signature):
            digest.fault = "has a signature that is no hexadecimal number"
            return
        signature = bytes.fromhex(digest.signature)
        fingerprint = str(digest.fields["digestPublicKeyFingerprint"]).lower()
        named = [each for each in self._keys if fingerprint in each.fingerprints]
        for count in range(len(digest.contents), 0, -1):
            content = b"".join(digest.contents[:count])
            text = to_sign(digest.fields, content)
            if any(holds(each.key, signature, text) for each in named or self._keys):
                digest.sha256 = hashlib.sha256(content).hexdigest()
                if count < len(digest.contents) or digest.behind:
                    digest.fault = "has data behind what CloudTrail wrote: something was appended to the gzip file"
                return
        if named:
            digest.fault = "was changed: its signature does not hold"
        else:
            digest.unverified = f"is signed with a key that was not given (fingerprint {fingerprint})"

    def _tell(self, digests: Sequence[Digest]) -> None:
        for each in digests:
            if each.fault is not None:
                self._find("invalid", each.name, each.fault)
            elif each.unverified is not None:
                self._find("unverified", each.name, each.unverified)

    def _walk(self, digests: Sequence[Digest]) -> None:
        """From the newest to the oldest, along what each says of the one before it, if that can be believed."""
        by_key = {each.fields.get("digestS3Object"): each for each in digests if each.fields}
        at, skipped = 0, 0
        believed: Digest | None = None  # the last one that holds, when its account of the time before it still stands
        while at < len(digests):
            current = digests[at]
            following = digests[at + 1] if at + 1 < len(digests) else None
            if not current.valid:
                at, skipped = at + 1, skipped + 1
                continue
            if believed is not None:
                self._hole(believed, current.end, skipped)
            believed, skipped = current, 0
            if self._since is not None and current.start <= self._since:
                return
            previous = current.previous
            if previous is None:
                if following is not None:
                    self._find(
                        "note",
                        current.name,
                        f"begins a new chain at {_shown(current.start)}, and the digests before end at "
                        f"{_shown(following.end)}: logging or its validation was switched off between",
                    )
                believed, at = None, at + 1
                continue
            before = by_key.get(previous)
            if before is None:
                if self._file_of(previous) is None:
                    self._missing(current, previous, following)
                    believed = None
                at += 1
                continue
            self._judge_link(current, before)
            place = digests.index(before)
            if place <= at:
                current.fault = "names a digest as the one before it that is later"
                return
            for each in digests[at + 1 : place]:
                each.fault = each.fault or f"stands beside the chain: {current.name} names another before it"
            at = place

    def _judge_link(self, current: Digest, before: Digest) -> None:
        """What a digest that holds says of the one before it: its hash vouches for it where its key was not given."""
        told = current.fields.get("previousDigestHashValue")
        if before.fault is not None or not isinstance(told, str):
            return
        if before.unverified is not None:
            whole = b"".join(before.contents)
            if not before.behind and hashlib.sha256(whole).hexdigest() == told.lower():
                before.unverified, before.sha256 = None, told.lower()
            else:
                before.fault = f"was changed: {current.name} says another SHA-256 of it"
        elif told.lower() != before.sha256:
            before.fault = f"is another than {current.name} says: SHA-256 {told}"
        elif current.fields.get("previousDigestSignature") != before.signature:
            before.fault = f"has another signature than {current.name} says"

    def _missing(self, current: Digest, key: str, following: Digest | None) -> None:
        if following is None:
            why = f"{current.name} names it as the one before it, and neither it nor an earlier one is there"
        else:
            why = f"{current.name} names it as the one before it; {_span(following.end, current.start)}"
        self._find("missing", key, why)

    def _hole(self, believed: Digest, end: datetime, skipped: int) -> None:
        """Where more time is missing than the digests that do not hold would cover."""
        if round((believed.start - end) / HOUR) > skipped:
            self._find("missing", believed.name, f"before it, {_span(end, believed.start)}")

    # --- logs ---------------------------------------------------------------------------------------------------

    def _judge_logs(self, digest: Digest) -> None:
        listed = digest.fields.get("logFiles")
        for each in listed if isinstance(listed, list) else []:
            key = each.get("s3Object") if isinstance(each, dict) else None
            wanted = each.get("hashValue") if isinstance(each, dict) else None
            if not isinstance(key, str) or not isinstance(wanted, str):
                self._find("invalid", digest.name, "names a log file without its key or its hash")
                continue
            name = self._file_of(key)
            self._named.add(name or key)
            if each.get("hashAlgorithm", "SHA-256") != "SHA-256":
                self._find("unverified", name or key, f"is hashed with {each['hashAlgorithm']}: expected SHA-256")
                continue
            if self._bucket is not None and each.get("s3Bucket") != self._bucket:
                self._find("unverified", key, f"is in another bucket: {each.get('s3Bucket')}")
                continue
            stored = self._read(name) if name is not None else None
            if name is None or stored is None:
                self._find("missing", name or key, f"{digest.name} names it, and it is not there")
                continue
            fault = log_fault(stored.data, wanted)
            if fault is None:
                self._vouched[name] = wanted.lower()
            else:
                self._find("invalid", name, fault)

    def _judge_end(self, found: Sequence[Digest]) -> None:
        """Of one trail, newest first."""
        newest = max((each.end for each in found if each.valid), default=None)
        if self._until is not None and newest is not None and newest < self._until:
            end, wanted = _shown(newest), _shown(self._until)
            self._find("missing", found[0].name, f"no valid digest follows {end}, and they are to reach to {wanted}")

    def _judge_unnamed(self, covered: Mapping[tuple[str, str], list[tuple[datetime, datetime]]]) -> None:
        for name in sorted(self._logs):
            if name in self._named:
                continue
            found = LOG.search(name)
            delivered = log_time(name)
            assert found is not None
            assert delivered is not None
            spans = covered.get((found[1], found[2]))
            if not spans:
                self._find("unverified", name, "no valid digest of its account and region is there")
            elif delivered >= max(end for _, end in spans) - timedelta(minutes=15):
                self._find(
                    "note", name, "is not named yet: it was delivered when the newest valid digest ended, or later"
                )
            elif delivered < min(start for start, _ in spans):
                self._find("note", name, "is older than the first valid digest")
            else:
                self._find("unnamed", name, "no valid digest names it: CloudTrail is not known to have delivered it")


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(begin: datetime, end: datetime) -> str:
    hours = max(1, round((end - begin) / HOUR))
    digests = "1 digest" if hours == 1 else f"{hours} digests"
    return f"no valid digest covers {_shown(begin)} to {_shown(end)} (about {digests}), and so no log file of that time"
