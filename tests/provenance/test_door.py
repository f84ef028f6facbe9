"""The door out and `verify`: every format leaves marked and signed, and what happens to a file afterwards is told."""

import json
import sys
from dataclasses import replace
from datetime import timedelta

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from scenes import coded, flip, remux, scene

from worldtube import provenance, video
from worldtube.cli import main
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.provenance import identity as identities
from worldtube.provenance.credentials import CONTAINER
from worldtube.video import Clip, Size, fit

DETAILS = {
    "model": "tiny",
    "seed": 7,
    "task": "generate",
    "size": "64x64",
    "prompt": 'a "wall"; ein Hügel \U0001f600',
    "levels": [1, 0.5],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One clip as it leaves."""
    return provenance.write(scene(), tmp_path_factory.mktemp("made") / "clip.mp4", details=DETAILS)


def other(tmp_path):
    return identities.load(tmp_path / "other" / "provenance")


@pytest.mark.parametrize("format", video.FORMATS)
def test_every_format_leaves_marked_and_signed(tmp_path, format: str, caplog):
    clip = scene(num_frames=1 if format in video.STILLS else 5)
    path = provenance.write(clip, tmp_path / f"clip.{format}", details=DETAILS)
    assert provenance.read_details(path) == DETAILS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    report = provenance.verify(path)
    assert report.watermark.found
    assert report.verdict == ("derived" if format == "webm" else "unaltered")
    if format == "webm":
        assert "no credentials" in caplog.text and report.credentials.state == "not_present"
        return
    assert not caplog.text
    one = report.credentials
    assert one.state == "trusted" and one.ours and one.watermark == report.watermark.payload
    assert one.actions == ("c2pa.created", "c2pa.watermarked.bound")
    assert one.source_type == "trainedAlgorithmicMedia"
    generation = {name: one.generation[name] for name in one.generation if name != CONTAINER}
    assert generation == {name: DETAILS[name] for name in ("model", "seed", "task", "size")}
    assert (CONTAINER in one.generation) == (format in ("mp4", "mov"))
    assert b"wall" not in c2pa_box(path)


def c2pa_box(path) -> bytes:
    with c2pa.Reader(str(path)) as reader:
        return reader.detailed_json().encode()


def test_the_prompt_is_signed_when_asked(tmp_path):
    path = provenance.write(scene(), tmp_path / "a.png.webp", details=DETAILS, sign_prompt=True)
    assert provenance.verify(path).credentials.generation["prompt"] == DETAILS["prompt"]


def test_the_official_reader_accepts_it(made):
    """Without our root it says valid, and that it does not know us."""
    with c2pa.Reader(str(made)) as reader:
        assert reader.get_validation_state() == "Valid"
        failed = reader.get_validation_results()["activeManifest"]["failure"]
    assert [one["code"] for one in failed] == ["signingCredential.untrusted"]


def test_same_request_same_pixels(made, tmp_path):
    again = provenance.write(scene(), tmp_path / "again.mp4", details=DETAILS)
    frames = video.read(made).frames
    assert (video.read(again).frames == frames).all()
    blocks = np.split(scene().frames, [3, 10])
    count = provenance.write_blocks(
        blocks, tmp_path / "b.mp4", fps=12, caption="", details=DETAILS | {"task": ""}
    )
    assert count == 25 and (video.read(tmp_path / "b.mp4").frames == frames).all()


@pytest.mark.parametrize("after", [b"mdat", b"org.worldtube.generation"])
def test_a_flipped_bit_breaks_the_credentials(made, tmp_path, after):
    """Where the bit breaks the picture too, nothing of ours may be left in it."""
    report = provenance.verify(
        flip(made, tmp_path / "a.mp4", after, 900 if after == b"mdat" else 40)
    )
    assert report.verdict == ("derived" if report.watermark.found else "altered")
    assert any("mismatch" in detail for detail in report.details)
    assert after == b"mdat" or report.watermark.found


def test_a_file_cut_short_is_told(made, tmp_path):
    (tmp_path / "a.mp4").write_bytes(made.read_bytes()[:-300])
    report = provenance.verify(tmp_path / "a.mp4")
    assert report.verdict in ("altered", "derived") and "cut off" in report.reasons[-1]


def test_without_credentials_the_watermark_speaks(made, tmp_path):
    payload = provenance.verify(made).watermark.payload
    lossy = coded(video.read(made), 28)
    video.write(lossy, tmp_path / "lossy.mp4", crf=28)
    for path in (remux(made, tmp_path / "remuxed.mp4"), tmp_path / "lossy.mp4"):
        report = provenance.verify(path)
        assert report.verdict == "derived" and report.credentials.state == "not_present"
        assert report.watermark.payload == payload and "no credentials" in report.reasons[0]


def test_halved_and_encoded_at_256(tmp_path):
    path = provenance.write(scene(256), tmp_path / "large.mp4", details=DETAILS)
    half = fit(video.read(path), Size(128, 128))
    video.write(half, tmp_path / "half.mp4", crf=28)
    assert provenance.verify(tmp_path / "half.mp4").verdict == "derived"


def test_what_is_not_ours_is_not_claimed(tmp_path):
    video.write(scene(), tmp_path / "plain.mp4")
    report = provenance.verify(tmp_path / "plain.mp4")
    assert report.verdict == "no_signal" and report.watermark.p_value > 1e-6
    theirs = provenance.write(
        scene(), tmp_path / "theirs.mp4", details=DETAILS, identity=other(tmp_path)
    )
    assert provenance.verify(theirs).verdict == "unknown_other"
    root = identities.split(other(tmp_path).certificate)[1]
    knowing = replace(identities.load(), known={"them": root})
    report = provenance.verify(theirs, identity=knowing)
    assert report.verdict == "known_other" and "worldtube local signer" in report.reasons[0]
    assert (
        provenance.verify(flip(theirs, tmp_path / "f.mp4"), identity=knowing).verdict == "altered"
    )


def test_edits_name_their_parents(made, tmp_path):
    longer = provenance.write(
        scene(seed=1), tmp_path / "a.mp4", details=DETAILS | {"task": "extend"}, parents=[made]
    )
    one = provenance.verify(longer).credentials
    assert one.actions == ("c2pa.opened", "c2pa.edited", "c2pa.watermarked.bound")
    assert one.source_type == "trainedAlgorithmicMedia"
    assert [(p["title"], p["relationship"]) for p in one.parents] == [("clip.mp4", "parentOf")]
    video.write(scene(seed=2), tmp_path / "film.webm")
    both = provenance.write(
        scene(seed=3),
        tmp_path / "b.gif",
        details=DETAILS | {"task": "connect"},
        parents=[longer, tmp_path / "film.webm"],
    )
    one = provenance.verify(both).credentials
    assert one.source_type == "compositeWithTrainedAlgorithmicMedia"
    assert [p["relationship"] for p in one.parents] == ["parentOf", "componentOf"]
    assert one.parents[0]["parents"][0]["title"] == "clip.mp4"
    moved = provenance.write(
        scene(seed=4), tmp_path / "c.mp4", details=DETAILS | {"task": "animate"}, parents=[made]
    )
    one = provenance.verify(moved).credentials
    assert one.actions[0] == "c2pa.created" and one.parents[0]["relationship"] == "inputTo"


def test_a_tampered_parent_is_told_of_its_children(made, tmp_path):
    bad = flip(made, tmp_path / "bad.mp4")
    details = DETAILS | {"task": "edit"}
    child = provenance.write(scene(seed=1), tmp_path / "child.mp4", details=details, parents=[bad])
    later = provenance.write(scene(seed=2), tmp_path / "l.mp4", details=details, parents=[child])
    for path in (child, later):
        report = provenance.verify(path)
        assert report.verdict == "unaltered"
        assert any("bad.mp4" in one and "altered before" in one for one in report.reasons)


def test_an_interrupt_leaves_a_signed_file_of_what_came(tmp_path):
    def blocks():
        yield scene(num_frames=30).frames
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provenance.write_blocks(blocks(), tmp_path / "a.mp4", fps=12, caption="c", details=DETAILS)
    report = provenance.verify(tmp_path / "a.mp4")
    assert report.credentials.ours and report.watermark.found
    assert video.read(tmp_path / "a.mp4").num_frames == 30
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("call", ["pathlib.Path.write_bytes", "os.replace"])
def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path, monkeypatch, call):
    identities.load()  # made before the disk is full
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the old one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(
        RequestError, match=r"/clip\.mp4 cannot be written: No space left on device$"
    ):
        provenance.write(scene(), path, details=DETAILS)
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]


def test_nothing_came_nothing_is_written(tmp_path):
    count = provenance.write_blocks([], tmp_path / "a.mp4", fps=12, caption="", details={})
    assert count == 0 and not list(tmp_path.iterdir())


def test_an_expired_certificate_is_told(tmp_path):
    """The clock cannot be set, so the certificate is one that ends in seconds, and time is waited for."""
    import time

    chain, key = identities.new_certificate(life=timedelta(minutes=5, seconds=8))
    short = replace(identities.load(), certificate=chain, key=key, own=(chain,))
    path = provenance.write(scene(num_frames=2), tmp_path / "a.png.gif", details={}, identity=short)
    ends = time.monotonic() + 9
    assert provenance.verify(path, identity=short).credentials.state == "trusted"
    time.sleep(max(0, ends - time.monotonic()))
    report = provenance.verify(path, identity=short)
    assert "expired" in report.reasons[0] and report.verdict == "derived"


def test_a_certificate_and_a_signer_of_ones_own(tmp_path, monkeypatch):
    """`settings.json` names a function, as one would for a KMS; earlier files stay ours."""
    folder = tmp_path / "provenance"
    before = provenance.write(
        scene(), tmp_path / "before.mp4", details={}, identity=identities.load(folder)
    )
    chain, key = identities.new_certificate("the studio")
    (folder / "studio.pem").write_text(chain)
    (tmp_path / "our_kms.py").write_text(
        "import test_door\ndef sign(data):\n    return test_door.raw_signature(data)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(KEYS, "studio", key)
    monkeypatch.setitem(sys.modules, "test_door", sys.modules[__name__])
    settings = {"certificate": "studio.pem", "sign": "our_kms:sign"}
    (folder / "settings.json").write_text(json.dumps(settings))
    who = identities.load(folder)
    after = provenance.write(scene(), tmp_path / "after.mp4", details={}, identity=who)
    assert provenance.verify(after, identity=who).credentials.signer == "the studio"
    for path in (before, after):
        assert provenance.verify(path, identity=who).credentials.ours
    (folder / "studio.pem").write_text(identities.split(chain)[0])
    with pytest.raises(DataError, match="what signed it behind it"):
        provenance.write(scene(), tmp_path / "c.mp4", details={}, identity=identities.load(folder))
    assert not (tmp_path / "c.mp4").exists()


KEYS: dict[str, str] = {}


def raw_signature(data: bytes) -> bytes:
    """r and s, 32 bytes each, as C2PA has it."""
    key = serialization.load_pem_private_key(KEYS["studio"].encode(), None)
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_a_missing_signer_is_never_silent(made, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    path = provenance.write(scene(), tmp_path / "a.mp4", details=DETAILS)
    assert "a.mp4 is not signed: pip install c2pa-python" in caplog.text
    report = provenance.verify(path)
    assert report.verdict == "derived" and "c2pa-python" in report.reasons[-1]


def test_what_cannot_hold_the_mark_is_told(tmp_path, caplog):
    clip = Clip(frames=np.full((2, 14, 14, 3), 90, np.uint8), fps=12)
    path = provenance.write(clip, tmp_path / "a.mp4", details={})
    assert "does not hold the watermark" in caplog.text
    one = provenance.verify(path)
    assert one.credentials.ours and one.credentials.actions == ("c2pa.created",)


def test_bad_input_is_told(tmp_path, made):
    with pytest.raises(RequestError, match="no folder"):
        provenance.write(scene(), tmp_path / "none" / "a.mp4", details={})
    with pytest.raises(NotFound, match=r"none\.mp4"):
        provenance.write(scene(), tmp_path / "a.mp4", details={}, parents=[tmp_path / "none.mp4"])
    with pytest.raises(RequestError, match="is a folder"):
        (tmp_path / "taken.mp4").mkdir()
        provenance.write(scene(), tmp_path / "taken.mp4", details={})
    (tmp_path / "text.mp4").write_text("no film at all")
    with pytest.raises(DataError, match=r"text\.mp4"):
        provenance.verify(tmp_path / "text.mp4")
    with pytest.raises(NotFound):
        provenance.verify(tmp_path / "none.mp4")
    video.write(scene(), tmp_path / "hand.mp4", comment="made by hand")
    with pytest.raises(DataError, match="how it was made"):
        provenance.read_details(tmp_path / "hand.mp4")


def test_the_command(made, tmp_path, capsys):
    assert main(["verify", str(made)]) == 0
    assert capsys.readouterr().out.startswith(
        f"{made}: made here, unaltered\n  - Signed by this installation"
    )
    bad = flip(made, tmp_path / "bad.mp4")
    code = main(["verify", "--json", str(made), str(bad)])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["verdict"] == "unaltered" and first["watermark"]["found"]
    assert first["credentials"]["generation"]["seed"] == 7
    expected = "derived" if second["watermark"]["found"] else "altered"
    assert second["verdict"] == expected and second["words"] == provenance.VERDICTS[expected]
    assert code == second["exit_code"] == provenance.EXIT_CODES[expected]
    assert first["exit_code"] == 0 and first["details"]
    assert main(["verify", str(tmp_path / "none.mp4")]) == 2
    assert main(["verify"]) == 2
