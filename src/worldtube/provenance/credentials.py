"""Content credentials (C2PA 2): what a signed file says of its making, put in and read out.

Owns the manifest (actions, ingredients, our assertion) and what its validation means. Knows nothing of
pixels. Signer and context are made for each file: they are dead after a fork, and cost a millisecond.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from worldtube.errors import DataError
from worldtube.provenance.identity import CLAIM_SIGNING, EMAIL_PROTECTION, Identity

MIME = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
"""What can be signed, of what we write. C2PA has no place for credentials in a webm."""
GENERATION = "org.worldtube.generation"
WATERMARK = "org.worldtube.watermark.1"
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = SOURCE + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE + "compositeWithTrainedAlgorithmicMedia"
NEW = ("generate", "image", "animate", "remix", "storyboard")
"""Tasks that make all pixels anew; those of others go on with their (first) parent's."""
TOLD = (
    *("generator", "model", "task", "seed", "size", "num_frames", "fps"),
    *("steps", "sampler", "guidance", "num_given"),
)
"""Details that go into the signed assertion; the prompts only when asked."""
CONTAINER = "container_sha256"
"""Name, within our assertion, of the digest of what C2PA's own hash leaves out of an MP4."""
UNHASHED = (b"ftyp", b"free", b"skip", b"mfra")
"""Boxes of an MP4 that C2PA's hash leaves out."""
CONTAINER_MISMATCH = "org.worldtube.container.mismatch"
PROMPTS = ("prompt", "asked", "negative_prompt", "shots")

State = Literal["trusted", "valid", "invalid", "not_present"]


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The credentials of a file, and what checking them came to."""

    state: State
    """trusted: whole, and signed by us or someone known; valid: whole; invalid: altered since, or never whole."""
    ours: bool = False
    """Signed by this installation."""
    signer: str = ""
    """Name in the certificate; only what a trusted one says is more than a claim."""
    issuer: str = ""
    serial: str = ""
    made_at: str = ""
    """When, by the signer's clock."""
    problems: tuple[str, ...] = ()
    """C2PA's codes of what failed."""
    actions: tuple[str, ...] = ()
    source_type: str = ""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Our assertion: model, seed, sizes and task."""
    watermark: str = ""
    """The payload that the watermark is said to hold."""
    parents: tuple[Mapping[str, Any], ...] = ()
    """Of each file that this was made from: title, relationship, problems when it was signed in, its own parents."""


def sign(
    source: Path,
    target: Path,
    identity: Identity,
    *,
    title: str,
    details: Mapping[str, Any],
    watermark: str | None,
    parents: Sequence[Path] = (),
    sign_prompt: bool = False,
) -> Credentials:
    """Write the signed copy of a file, and check it. Raises DataError when it does not verify.

    watermark: the payload that was found in the encoded file; empty where none was found, None where none was laid.
    """
    import c2pa

    mime = MIME[target.suffix[1:].lower()]
    edited = bool(parents) and details.get("task") not in NEW
    ours = all(read(parent, identity).ours for parent in parents)
    digest = _container_digest(source) if mime.startswith("video/") else None
    extra: dict[str, Any] = {CONTAINER: digest} if digest else {}
    if watermark is None:
        extra["watermark"] = False
    manifest = {
        "claim_generator_info": [{"name": "worldtube", "version": _version()}],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(len(parents), edited, ours)}},
            {"label": GENERATION, "data": _told(details, TOLD + PROMPTS * sign_prompt) | extra},
        ],
    }
    if watermark:
        block = {"scope": {}, "value": watermark}
        binding = {"label": "c2pa.soft-binding", "data": {"alg": WATERMARK, "blocks": [block]}}
        manifest["assertions"].append(binding)
        manifest["assertions"][0]["data"]["actions"].append({"action": "c2pa.watermarked.bound"})
    try:
        builder = c2pa.Builder(manifest, context=_context(identity.anchors))
        for index, parent in enumerate(parents):
            relation = "inputTo" if not edited else "componentOf" if index else "parentOf"
            entry = {"title": parent.name, "relationship": relation, "label": f"parent{index}"}
            with open(parent, "rb") as file:
                builder.add_ingredient(entry, _mime(parent), file)
        with open(source, "rb") as file, open(target, "w+b") as out:
            builder.sign(_signer(identity), mime, file, out)
    except c2pa.C2paError as error:
        raise DataError(f"{title} cannot be signed: {error}") from error
    made = read(target, identity)
    if not made.ours:
        raise DataError(
            f"{title} was signed and does not verify here ({made.state}: {', '.join(made.problems)});"
            " a certificate of one's own needs what signed it behind it in its file"
        )
    return made


def read(path: Path, identity: Identity) -> Credentials:
    """Read the credentials of any file, checked against us, then against the others whom we know.

    An MP4 of ours is also checked in the boxes that C2PA leaves out of its hash.
    """
    found = _read_known(path, identity)
    signed = found.generation.get(CONTAINER)
    if found.state not in ("trusted", "valid") or not signed or signed == _container_digest(path):
        return found
    return replace(
        found, state="invalid", ours=False, problems=(*found.problems, CONTAINER_MISMATCH)
    )


def _container_digest(path: Path) -> str | None:
    """Hash the order of an MP4's boxes and what is in those that C2PA leaves out; None for a file without boxes."""
    digest = hashlib.sha256()
    count = 0
    with open(path, "rb") as file:
        for kind, start, length in _boxes(file):
            if kind == b"uuid":  # the credentials themselves; C2PA hashes any other
                continue
            count += 1
            digest.update(kind)
            if kind in UNHASHED:
                file.seek(start)
                digest.update(length.to_bytes(8, "big") + file.read(length))
    return digest.hexdigest() if count else None


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, length) of the boxes of an MP4."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = end - start
        yield head[4:8], start, min(length, end - start)
        start += max(length, 8)


def _read_known(path: Path, identity: Identity) -> Credentials:
    first = _read(path, identity.anchors)
    if first.state == "trusted" and int(first.serial) in identity.serials:
        return replace(first, ours=True)
    if first.state == "trusted":  # by the same authority, to someone else
        first = _read(path, "")
    if first.state in ("valid", "invalid") and identity.known:
        return _read(path, "".join(identity.known.values()))
    return first


def _read(path: Path, anchors: str) -> Credentials:
    import c2pa

    with open(path, "rb") as file:
        try:
            reader = c2pa.Reader.try_create(_mime(path), file, context=_context(anchors))
            if reader is None:
                return Credentials(state="not_present")
            with reader:
                state: Any = (reader.get_validation_state() or "invalid").lower()
                told, results = json.loads(reader.json()), reader.get_validation_results() or {}
        except c2pa.C2paError as error:
            if str(error).startswith("NotSupported"):
                return Credentials(state="not_present")
            return Credentials(state="invalid", problems=(str(error),))
    manifest = told["manifests"][told["active_manifest"]]
    told_of = manifest.get("assertions", ())
    data = {one["label"]: one["data"] for one in told_of if isinstance(one["data"], dict)}
    actions = data.get("c2pa.actions.v2", data.get("c2pa.actions", {})).get("actions", ())
    by = manifest.get("signature_info") or {}
    kinds = [one["digitalSourceType"] for one in actions if "digitalSourceType" in one]
    blocks = data.get("c2pa.soft-binding", {}).get("blocks", ())
    return Credentials(
        state=state,
        signer=by.get("common_name") or "",
        issuer=by.get("issuer") or "",
        serial=by.get("cert_serial_number") or "-1",
        made_at=by.get("time") or next((one["when"] for one in actions if "when" in one), ""),
        problems=_codes(results.get("activeManifest")),
        actions=tuple(one.get("action", "") for one in actions),
        source_type=kinds[0].removeprefix(SOURCE) if kinds else "",
        generation=data.get(GENERATION, {}),
        watermark=blocks[0].get("value", "") if blocks else "",
        parents=_parents(manifest, told["manifests"], results.get("ingredientDeltas") or ()),
    )


def _parents(
    manifest: Mapping[str, Any], manifests: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Its ingredients and theirs: problems found when each was signed in, or since (deltas)."""
    return tuple(
        {
            "title": one.get("title") or "",
            "relationship": one.get("relationship") or "",
            "problems": _problems(one, manifest.get("label", ""), deltas),
            "parents": _parents(manifests.get(one.get("active_manifest"), {}), manifests, deltas),
        }
        for one in manifest.get("ingredients", ())
    )


def _problems(
    ingredient: Mapping[str, Any], manifest: str, deltas: Sequence[Mapping[str, Any]]
) -> list[str]:
    codes = _codes((ingredient.get("validation_results") or {}).get("activeManifest"))
    own = f"{manifest}/c2pa.assertions/{ingredient.get('label')}"
    for delta in deltas:
        if delta.get("ingredientAssertionURI", "").endswith(own):
            codes += _codes(delta.get("validationDeltas"))
    return [code for code in dict.fromkeys(codes) if code != "signingCredential.untrusted"]


def _codes(results: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one["code"] for one in (results or {}).get("failure") or ()))


def _actions(parents: int, edited: bool, ours: bool) -> list[dict[str, Any]]:
    """What was done, as C2PA wants it: created, or opened and edited."""
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    names = [f"parent{index}" for index in range(parents)]
    if not edited:
        made = {"action": "c2pa.created", "digitalSourceType": TRAINED, "when": when}
        return [made | ({"parameters": {"ingredientIds": names}} if names else {})]
    kind = TRAINED if ours else COMPOSITE
    return [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": names[:1]}},
        *({"action": "c2pa.placed", "parameters": {"ingredientIds": [one]}} for one in names[1:]),
        {"action": "c2pa.edited", "digitalSourceType": kind, "when": when},
    ]


def _told(details: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return json.loads(json.dumps({k: details[k] for k in names if k in details}, default=str))


def _context(anchors: str) -> Any:
    import c2pa

    trust = {"trust_config": f"{CLAIM_SIGNING}\n{EMAIL_PROTECTION}\n"}
    return c2pa.Context.from_dict(
        {
            "verify": {
                "verify_trust": True,
                "verify_after_sign": False,  # `sign` does, with an eye on who signed
                "remote_manifest_fetch": False,
                "ocsp_fetch": False,
            },
            "builder": {"thumbnail": {"enabled": False}},
            "trust": trust | ({"user_anchors": anchors} if anchors else {}),
        }
    )


def _signer(identity: Identity) -> Any:
    import c2pa

    if isinstance(identity.key, str):
        info = c2pa.C2paSignerInfo(
            identity.algorithm.encode(),
            identity.certificate.encode(),
            identity.key.encode(),
            identity.tsa_url.encode() if identity.tsa_url else None,
        )
        return c2pa.Signer.from_info(info)
    algorithm = c2pa.C2paSigningAlg[identity.algorithm.upper()]
    return c2pa.Signer.from_callback(
        identity.key, algorithm, identity.certificate, identity.tsa_url
    )


def _mime(path: Path) -> str:
    """What a file is, by its first bytes; by its name where they do not say."""
    with open(path, "rb") as file:
        head = file.read(16)
    known = {
        b"\x89PNG": "image/png",
        b"GIF8": "image/gif",
        b"\xff\xd8\xff": "image/jpeg",
        b"\x1aE\xdf\xa3": "video/webm",
    }
    for start, mime in known.items():
        if head.startswith(start):
            return mime
    if head[:4] == b"RIFF":
        return "image/webp" if head[8:12] == b"WEBP" else "video/avi"
    if head[4:8] == b"ftyp":
        brands = {b"avif": "image/avif", b"heic": "image/heic", b"qt  ": "video/quicktime"}
        return brands.get(head[8:12], "video/mp4")
    return path.suffix[1:].lower() or "application/octet-stream"


def _version() -> str:
    from worldtube import __version__

    return __version__
