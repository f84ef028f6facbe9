"""Where a file comes from, in a few plain words: credentials and watermark weighed together.

Owns the verdicts and their exit codes. Credentials that are whole say that a file is as it was signed, and anyone can
strip them; the watermark outlives re-encoding, and says only that something in the picture came from here: what was
laid over it or cut out of it since is not known. Neither found means just that: no signal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldtube import video
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.provenance import identity as identities
from worldtube.provenance.credentials import Credentials, read
from worldtube.provenance.identity import Identity
from worldtube.provenance.watermark import CLAIM, RUN, Found, Search

VERDICTS = {
    "unaltered": "made here, unaltered",
    "known_other": "unaltered, signed by someone known here",
    "derived": "derived from something made here",
    "altered": "changed since it was signed",
    "unknown_other": "signed by someone unknown here",
    "no_signal": "no signal found",
}
"""verdict -> words. `no_signal` never means that something was not generated."""
EXIT_CODES = {
    "unaltered": 0,
    "known_other": 0,
    "no_signal": 1,
    "unknown_other": 1,
    "derived": 3,
    "altered": 4,
}
"""verdict -> exit code of `worldtube verify`; 2 is for what cannot be checked."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of one file."""

    path: str
    verdict: str
    """A key of VERDICTS."""
    reasons: tuple[str, ...]
    """Whole sentences for anyone."""
    details: tuple[str, ...]
    """Whole sentences for experts: statistics of the watermark and C2PA's codes."""
    credentials: Credentials
    watermark: Found | None
    """None where no picture could be decoded."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        return VERDICTS[self.verdict]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def told(self) -> dict[str, Any]:
        """As JSON holds it."""
        mark = self.watermark
        watermark = None if mark is None else asdict(mark) | {"found": mark.found}
        more = {"words": self.words, "exit_code": self.exit_code, "watermark": watermark}
        return asdict(self) | more

    def text(self, *, details: bool = False) -> str:
        """The verdict and the reasons, a line each; with `details` the statistics too."""
        lines = [f"{self.path}: {self.words}", *self.reasons, *(self.details if details else ())]
        # Names in a file are whatever its maker wrote: none may steer a terminal.
        plain = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
        return "\n  - ".join(plain)

    def __str__(self) -> str:
        return self.text()


def verify(path: str | Path, *, identity: Identity | None = None) -> Report:
    """Say where a picture or video comes from. Raises NotFound, and DataError for what is neither of them."""
    path = Path(path)
    if not path.exists():
        raise NotFound(f"no file {path}")
    if not path.is_file():
        raise RequestError(f"{path} is not a file")
    identity = identity or identities.load()
    notes: list[str] = []
    try:
        credentials = read(path, identity)
    except ImportError:
        credentials = Credentials(state="not_present")
        notes.append("Credentials were not looked for: pip install c2pa-python.")
    found, failure = _search(path, identity.secret)
    if failure is not None:
        if found is None and not credentials.signer:  # neither a picture nor credentials
            raise failure
        extent = "only in part" if found is not None else "not"
        notes.append(f"The watermark was looked for {extent}: {failure}.")
    verdict, reason = _weigh(credentials, found)
    return Report(
        path=str(path),
        verdict=verdict,
        reasons=(reason, *_facts(credentials, found), *notes),
        details=_details(credentials, found),
        credentials=credentials,
        watermark=found,
    )


def _search(path: Path, secret: bytes) -> tuple[Found | None, DataError | None]:
    """What was found in the frames that could be decoded, and what kept us from the others."""
    search, seen = Search(), False
    try:
        for block in video.read_blocks(path, num_frames=RUN):
            search.add(block)
            seen = True
    except DataError as error:
        return (search.result(secret) if seen else None), error
    return search.result(secret), None


def _weigh(credentials: Credentials, found: Found | None) -> tuple[str, str]:
    """Return the verdict, and in a sentence what it rests on."""
    signer = _signer(credentials)
    marked = found is not None and found.found
    if credentials.state == "invalid":
        expired = "signingCredential.expired"
        untrusted = "signingCredential.untrusted"
        if expired in credentials.problems and set(credentials.problems) <= {expired, untrusted}:
            reason = (
                f"The certificate of {signer} has expired, and no time stamp says that the file is older,"
                " so its credentials prove nothing any more."
            )
            return ("derived" if marked else "unknown_other"), reason
        if marked:
            return "derived", (
                f"Its credentials, signed by {signer}, are not whole or belong to another file: it was changed"
                " after it left here, or the credentials were copied into it."
            )
        return "altered", (
            f"Its credentials, signed by {signer}, do not fit the file: it was changed after it was signed,"
            " or the credentials were copied from another file."
        )
    if credentials.state != "not_present" and credentials.ours:
        return "unaltered", "Signed by this installation, and nothing has changed since."
    if credentials.state == "trusted":
        return "known_other", (
            f"Signed by {signer}, whom this installation knows, and nothing has changed since."
        )
    if marked:
        if credentials.state == "valid":
            return "derived", (
                f"{signer}, unknown here, has signed it since it left here; what was changed before is not known."
            )
        return "derived", (
            "It holds no credentials, so what was changed since it left here is not known: it may have been"
            " encoded again, cut, or have other pictures laid over it."
        )
    if credentials.state == "valid":
        return "unknown_other", f"Signed by {signer}, whom this installation does not know."
    return "no_signal", "No credentials and no watermark of ours; that does not say who made it."


def _facts(credentials: Credentials, found: Found | None) -> list[str]:
    """Return what else is known, whatever the verdict."""
    facts: list[str] = []
    if found is not None and found.found:
        facts.append("The invisible watermark of this installation is in the picture.")
        if credentials.watermark and credentials.watermark != found.payload:
            facts.append("The credentials name another clip than the watermark does.")
    elif found is not None and credentials.ours and credentials.watermark:
        facts.append("The watermark that the credentials name is not found in the picture.")
    elif found is not None and credentials.state != "not_present":
        facts.append("No watermark of this installation is in the picture.")
    generation = credentials.generation
    if generation.get("watermark") is False:
        facts.append("It was saved without a watermark, on request.")
    if generation:
        parts = [
            f"{name} {generation[name]}"
            for name in ("model", "task", "seed", "size")
            if generation.get(name) is not None
        ]
        when = f", {credentials.made_at}" if credentials.made_at else ""
        facts.append(f"It says of itself: {', '.join(parts)}{when}.")
    return facts + _ancestry(credentials.parents, "it")


def _details(credentials: Credentials, found: Found | None) -> tuple[str, ...]:
    """Return what experts want to know: statistics and codes."""
    details: list[str] = []
    if found is not None:
        names = f", generation {found.payload}" if found.found else ""
        details.append(
            f"Watermark: p = {found.p_value:.1g} (at most {CLAIM:g} counts as found),"
            f" {found.agree} of {found.of} votes agree{names}."
        )
    if credentials.watermark:
        details.append(f"The credentials name generation {credentials.watermark}.")
    codes = f", {', '.join(credentials.problems)}" if credentials.problems else ""
    details.append(f"C2PA credentials: {credentials.state.replace('_', ' ')}{codes}.")
    if credentials.serial not in ("", "-1"):
        details.append(f"Certificate {credentials.serial} of {_signer(credentials)}.")
    return tuple(details)


def _ancestry(parents: Sequence[Mapping[str, Any]], child: str) -> list[str]:
    told: list[str] = []
    for parent in parents:
        name = parent["title"] or "an unnamed file"
        told.append(f"{name} is what {child} was made from.")
        if parent["problems"]:
            codes = ", ".join(parent["problems"])
            told[-1] = f"{name}, from which {child} was made, had been altered before: {codes}."
        told += _ancestry(parent["parents"], name)
    return told


def _signer(credentials: Credentials) -> str:
    signer, issuer = credentials.signer, credentials.issuer
    if signer and issuer and issuer not in signer:
        return f"{signer} ({issuer})"
    return signer or issuer or "someone without a name"
