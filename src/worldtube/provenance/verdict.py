"""Where a file comes from, in one word and with the reasons: credentials and watermark weighed together.

Owns the verdicts. Credentials say most while they are whole, and anyone can strip them; the watermark outlives
re-encoding, and says only that the pixels came from here. Neither found means just that: no signal.
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
    "made_here": "made here",
    "known_other": "made by a known other",
    "altered": "altered",
    "unknown_other": "signed by someone unknown here",
    "no_signal": "no signal found",
}
"""verdict -> words. `no_signal` never means that something was not generated."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of one file."""

    path: str
    verdict: str
    """A key of VERDICTS."""
    reasons: tuple[str, ...]
    """Whole sentences."""
    credentials: Credentials
    watermark: Found | None
    """None where no picture could be decoded."""

    @property
    def told(self) -> dict[str, Any]:
        """As JSON holds it."""
        mark = self.watermark
        seen = None if mark is None else asdict(mark) | {"found": mark.found}
        return asdict(self) | {"words": VERDICTS[self.verdict], "watermark": seen}

    def __str__(self) -> str:
        lines = [f"{self.path}: {VERDICTS[self.verdict]}", *self.reasons]
        # Names in a file are whatever its maker wrote: none may steer a terminal.
        plain = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
        return "\n  - ".join(plain)


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
        notes.append("Credentials were not looked for: pip install c2pa-python")
    found, failure = _search(path, identity.secret)
    if failure is not None:
        if found is None and not credentials.signer:  # neither a picture nor credentials
            raise failure
        seen = "only in part" if found is not None else "not"
        notes.append(f"The watermark was looked for {seen}: {failure}.")
    verdict, reasons = _weigh(credentials, found)
    return Report(
        path=str(path),
        verdict=verdict,
        reasons=(*reasons, *_more(credentials, found), *notes),
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


def _weigh(credentials: Credentials, found: Found | None) -> tuple[str, list[str]]:
    """The verdict, and what it rests on."""
    one, by = credentials, _by(credentials)
    marked = found is not None and found.found
    if one.state == "invalid":
        expired = "signingCredential.expired"
        if expired in one.problems and {expired, "signingCredential.untrusted"} >= set(
            one.problems
        ):
            why = f"The certificate of {by} has expired, and no time stamp says that the file is older."
            return ("made_here" if marked else "unknown_other"), [why]
        why = f"The file is not what was signed by {by}: {', '.join(one.problems)}."
        return "altered", [why]
    if one.state != "not_present" and one.ours:
        return "made_here", ["Signed by this installation, and nothing has changed since."]
    if one.state == "trusted":
        return "known_other", [
            f"Signed by {by}, whom this installation knows; nothing has changed since."
        ]
    if marked:
        if one.state == "valid":
            return "made_here", [f"It came from here, and {by}, unknown here, has signed it since."]
        why = "its format has no place for them, or it was written anew after it left here"
        return "made_here", [f"It holds no credentials: {why}."]
    if one.state == "valid":
        return "unknown_other", [f"Signed by {by}, whom this installation does not know."]
    return "no_signal", ["No credentials and no watermark of ours; that does not say who made it."]


def _more(credentials: Credentials, found: Found | None) -> list[str]:
    """What else is known, whatever the verdict."""
    told: list[str] = []
    if found is not None:
        odds = f"p = {found.p_value:.1g}, {found.agree} of {found.of} signs agree"
        if found.found:
            told.append(
                f"The watermark of this installation is there, generation {found.payload} ({odds})."
            )
            if credentials.watermark and credentials.watermark != found.payload:
                told.append(f"The credentials name another generation, {credentials.watermark}.")
        elif credentials.ours and credentials.watermark:
            told.append(
                f"The watermark {credentials.watermark} that was signed in is not found ({odds})."
            )
        else:
            told.append(
                f"No watermark of this installation ({odds}; up to {CLAIM:g} counts as found)."
            )
    made = credentials.generation
    if made:
        facts = [
            f"{name} {made[name]}"
            for name in ("model", "task", "seed", "size")
            if made.get(name) is not None
        ]
        when = f", {credentials.made_at}" if credentials.made_at else ""
        told.append(f"It says of itself: {', '.join(facts)}{when}.")
    return told + _ancestry(credentials.parents, "it")


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


def _by(one: Credentials) -> str:
    if one.signer and one.issuer and one.issuer not in one.signer:
        return f"{one.signer} ({one.issuer})"
    return one.signer or one.issuer or "someone without a name"
