"""Moving pictures to test with, made once: as NAL units, as files, as JPEGs."""

import re
import subprocess
from functools import cache

import imageio_ffmpeg

FRAMES_PER_SECOND = 15
GOP_FRAMES = 15
SECONDS = 4
Units = list[list[bytes]]


def _ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments, "pipe:1"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _pictures(size: str) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={FRAMES_PER_SECOND}"]


def _encoder(codec: str, *, repeats: bool = True) -> list[str]:
    shared = ["-pix_fmt", "yuv420p", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(GOP_FRAMES)]
    if codec == "h265":
        parameters = (
            f"log-level=none:repeat-headers={repeats:d}:aud=1:scenecut=0:pools=1:frame-threads=1:keyint={GOP_FRAMES}"
        )
        return [*shared, "-c:v", "libx265", "-x265-params", parameters]
    parameters = f"repeat-headers={repeats:d}:aud=1:scenecut=0:sliced-threads=0:threads=1"
    return [*shared, "-c:v", "libx264", "-profile:v", "baseline", "-x264-params", parameters]


@cache
def access_units(codec: str = "h264", size: str = "320x180") -> Units:
    """Four seconds of a moving picture as access units of NAL units, each GOP with its parameter sets."""
    raw = "hevc" if codec == "h265" else codec
    annexb = _ffmpeg(*_pictures(size), "-t", str(SECONDS), *_encoder(codec), "-f", raw)
    units: Units = []
    for nal in re.split(b"\0\0\1", annexb.replace(b"\0\0\0\1", b"\0\0\1"))[1:]:
        if (nal[0] >> 1 & 63 == 35) if codec == "h265" else (nal[0] & 31 == 9):  # an access unit delimiter
            units.append([])
        else:
            units[-1].append(nal)
    return units


@cache
def file(
    container: str,
    codec: str = "h264",
    *,
    sound: bool = True,
    seconds: int = 8,
    size: str = "320x180",
    repeats: bool = True,
) -> bytes:
    """An MPEG-TS ("mpegts") or a fragmented MP4 ("mp4"), with sound if wanted; `repeats`: its parameter sets in-band."""
    inputs = [*_pictures(size), *(["-f", "lavfi", "-i", "sine=r=48000"] if sound else [])]
    flags = ["-movflags", "empty_moov+default_base_moof+frag_every_frame"] if container == "mp4" else []
    audio = ["-c:a", "aac"] if sound else []
    return _ffmpeg(*inputs, "-t", str(seconds), *_encoder(codec, repeats=repeats), *audio, "-f", container, *flags)


@cache
def jpegs(size: str = "320x180", count: int = 30) -> list[bytes]:
    data = _ffmpeg(*_pictures(size), "-frames:v", str(count), "-q:v", "5", "-f", "image2pipe", "-c:v", "mjpeg")
    return [b"\xff\xd8" + picture for picture in data.split(b"\xff\xd8")[1:]]
