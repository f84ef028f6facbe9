"""The installation's own identity: made once, kept private, replaced by configuration."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from worldtube.errors import DataError, RequestError
from worldtube.provenance import identity


def test_first_use_makes_a_private_chain(tmp_path):
    folder = tmp_path / "home" / "provenance"
    one = identity.load(folder)
    for name in ("secret", "key.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    leaf, root = x509.load_pem_x509_certificates(one.certificate.encode())
    leaf.verify_directly_issued_by(root)
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=3640) < left < timedelta(days=3660)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    named = {one.dotted_string for one in purposes}
    assert named == {identity.CLAIM_SIGNING, identity.EMAIL_PROTECTION}
    assert one.serials == {leaf.serial_number} and len(one.secret) == 32
    assert one.secret.hex() not in repr(one) and "PRIVATE" not in repr(one)
    assert identity.load(folder) == one
    assert [p.name for p in folder.parent.iterdir()] == ["provenance"]


def test_home_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLDTUBE_HOME", str(tmp_path / "here"))
    identity.load()
    assert (tmp_path / "here" / "provenance" / "secret").exists()


def test_two_that_begin_at_once_are_one(tmp_path):
    folder = tmp_path / "provenance"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: identity.load(folder), range(8)))
    assert len({one.secret for one in made}) == len({one.certificate for one in made}) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["provenance"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"certifcate": "a.pem"}, "did you mean 'certificate'"),
        ({"algorithm": "rot13"}, "rot13"),
        ({"key": "a.pem", "sign": "a:b"}, "exclude each other"),
        ({"sign": "no.such.module:f"}, "no.such.module"),
        ([], "no object"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, words):
    identity.load(tmp_path / "provenance")
    (tmp_path / "provenance" / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(RequestError, match=words):
        identity.load(tmp_path / "provenance")


@pytest.mark.parametrize("name", ["secret", "certificate.pem", "known/them.pem"])
def test_a_damaged_identity_is_told(tmp_path, name):
    identity.load(tmp_path / "provenance")
    (tmp_path / "provenance" / name).write_text("nothing")
    with pytest.raises(DataError, match="cannot be used"):
        identity.load(tmp_path / "provenance")


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="WORLDTUBE_HOME"):
        identity.load(tmp_path / "file" / "provenance")
