"""The door out: what a clip says of its making comes back from every format."""

import numpy as np
import pytest

from worldtube import provenance, video
from worldtube.errors import DataError, RequestError
from worldtube.video import Clip


@pytest.mark.parametrize("format", video.FORMATS)
def test_details_come_back(tmp_path, format: str):
    num_frames = 1 if format == "png" else 3
    clip = Clip(frames=np.full((num_frames, 16, 16, 3), 90, np.uint8), fps=12, caption="a wall")
    details = {
        "model": "tiny",
        "seed": 7,
        "prompt": 'a "wall"; ein Hügel \U0001f600',
        "levels": [1, 0.5],
    }
    path = provenance.write(clip, tmp_path / f"clip.{format}", details=details)
    assert provenance.read_details(path) == details
    assert [p.name for p in tmp_path.iterdir()] == [f"clip.{format}"]


def test_a_clip_without_details(tmp_path):
    clip = Clip(frames=np.zeros((2, 16, 16, 3), np.uint8), fps=12)
    video.write(clip, tmp_path / "clip.mp4", comment="made by hand")
    with pytest.raises(DataError, match="how it was made"):
        provenance.read_details(tmp_path / "clip.mp4")
    with pytest.raises(RequestError, match="no folder"):
        provenance.write(clip, tmp_path / "none" / "clip.mp4", details={})
