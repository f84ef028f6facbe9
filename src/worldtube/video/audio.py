"""Sound in and out of media files.

Owns decoding to float samples on the clock of the pictures, and the audio stream of a file that is written: AAC in
MP4 and MOV, Opus in WebM, ALAC beside lossless H.264. Opened containers come from `reader` and `writer`.
"""

import logging
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer

from worldtube.video.container import picture_stream
from worldtube.video.sound import MAX_RATE, Sound

logger = logging.getLogger(__name__)

AAC_RATES = (
    *(8000, 11025, 12000, 16000, 22050, 24000, 32000),
    *(44100, 48000, 64000, 88200, 96000),
)
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
BIT_RATE = 96_000
"""Bits a second of each channel."""
CHUNK = 1024
"""Samples that are handed to an encoder together."""
JITTER = 0.03
"""Seconds by which the times of consecutive packets may be off before silence is put between them."""


def read_sound(container: InputContainer, *, seconds: float) -> Sound | None:
    """Decode the first audio stream, from the time of the first picture on; None where there is none.

    A stream that cannot be decoded is left out with a warning: the pictures do not suffer from it.

    Args:
        container: an opened file that was not read from yet
        seconds: duration of the pictures; what sounds after it is left out
    """
    if not container.streams.audio or not container.streams.video:
        return None
    audio, video = container.streams.audio[0], picture_stream(container)
    try:
        return _decode(container, audio, video, seconds)
    except (av.FFmpegError, ValueError) as error:
        logger.warning("the sound cannot be read and is left out: %s", error)
        return None


def _decode(
    container: InputContainer, audio: av.AudioStream, video: av.VideoStream, seconds: float
) -> Sound | None:
    rate = audio.rate
    if not rate or rate > MAX_RATE:
        return None
    begin: float | None = None
    parts: list[tuple[float, np.ndarray]] = []
    resampler = AudioResampler(format="fltp", layout=audio.layout, rate=rate)
    for packet in container.demux(video, audio):
        if packet.stream_index == video.index:
            if packet.pts is not None and packet.size and not packet.is_discard:
                time = float(packet.pts * packet.time_base)
                begin = time if begin is None else min(begin, time)
            continue
        for frame in packet.decode():
            if not isinstance(frame, av.AudioFrame):
                continue
            time = frame.time if frame.time is not None else _end(parts, rate)
            parts += [(time, part.to_ndarray()) for part in resampler.resample(frame)]
        if begin is not None and _end(parts, rate) > begin + seconds + 1:
            break
    if not parts or begin is None:
        return None
    count = round(seconds * rate)
    samples = np.zeros((count, parts[0][1].shape[0]), np.float32)
    cursor = 0.0
    for time, part in parts:  # (C, n)
        if abs(time - begin - cursor / rate) > JITTER or not cursor:
            cursor = round((time - begin) * rate)
        first, last = int(max(0, cursor)), int(min(count, cursor + part.shape[1]))
        if first < last:
            samples[first:last] = part[:, first - int(cursor) : last - int(cursor)].T
        cursor += part.shape[1]
    return Sound(samples=samples, rate=rate)


def _end(parts: list[tuple[float, np.ndarray]], rate: int) -> float:
    return parts[-1][0] + parts[-1][1].shape[1] / rate if parts else 0.0


class SoundTrack:
    """The audio stream of a file that is being written."""

    def __init__(self, output: OutputContainer, sound: Sound, container: str, *, lossless: bool):
        codec = "libopus" if container == "webm" else "alac" if lossless else "aac"
        rate, channels = _accepted(codec, sound)
        self.sound = sound.mix(channels).resample(rate)
        self.output = output
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = LAYOUTS[channels]
        stream.format = {"libopus": "flt", "alac": "s32p", "aac": "fltp"}[codec]
        if codec != "alac":
            stream.bit_rate = BIT_RATE * channels
        stream.codec_context.flags |= Flags.bitexact
        self.stream = stream
        self.position = 0

    def write(self, seconds: float) -> None:
        """Encode what sounds up to this time."""
        last = min(len(self.sound.samples), round(seconds * self.sound.rate))
        for chunk in self._chunks(last):
            for packet in self.stream.encode(chunk):
                self.output.mux(packet)

    def finish(self) -> None:
        """Encode what the encoder still holds. Call once, after the last `write`."""
        if self.position:
            self.output.mux(self.stream.encode(None))

    def _chunks(self, last: int) -> Iterator[av.AudioFrame]:
        name = self.stream.format.name
        while self.position < last:
            samples = self.sound.samples[self.position : min(last, self.position + CHUNK)]
            samples = np.clip(samples, -1, 1)
            if name == "s32p":
                samples = np.clip(samples.astype(np.float64) * 2**31, -(2**31), 2**31 - 256)
                samples = samples.astype(np.int32)
            packed = samples.reshape(1, -1) if name == "flt" else samples.T
            layout = self.stream.layout.name
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(packed), format=name, layout=layout
            )
            frame.sample_rate, frame.pts = self.sound.rate, self.position
            frame.time_base = Fraction(1, self.sound.rate)
            self.position += len(samples)
            yield frame


def _accepted(codec: str, sound: Sound) -> tuple[int, int]:
    """Rate and channels nearest to the sound's that a codec writes."""
    if codec == "libopus":
        return 48000, min(2, sound.channels)
    channels = sound.channels if sound.channels in LAYOUTS else 2
    if codec == "alac":
        return sound.rate, channels
    return next((rate for rate in AAC_RATES if rate >= sound.rate), AAC_RATES[-1]), channels
