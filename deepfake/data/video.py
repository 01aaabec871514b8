"""A video file -> frames from all over its length, one after another, so that long ones take no more memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfake.data.images import MAX_PIXELS, opening
from deepfake.errors import ImageError

SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
# Frames: a jump goes to the key frame before, of which most encoders make one in 250, and decodes on from there. To a
# frame less far away it takes longer than to decode all between: 2.4 times as long at 56 frames, H.264 and 1080p.
FAR = 250
SLACK = 100  # frames by which the length that a file tells of may be wrong, at most


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        seconds: When it is shown, from the start.
        pixels: Upright, shape (H, W, 3), uint8 RGB.
    """

    seconds: float
    pixels: np.ndarray


def sample(path: Path, count: int) -> Iterator[Frame]:
    """Read frames that are evenly spread over a video, the first half a step after its start.

    Args:
        path: A file of any format that FFmpeg reads. If it has no length or a wrong one, it is read twice.
        count: So many frames, 1 or more; fewer where the video has no more.

    Yields:
        The frames in their order, at least one.

    Raises:
        ImageError: If it is no video, is damaged, or has frames of more than `data.images.MAX_PIXELS` pixels. The
            message holds no path.
    """
    told = _told_length(path)
    length = told or _counted_length(path)
    places = np.unique((np.arange(count) + 0.5) * length // count).astype(np.int64).tolist()
    with _opened(path) as video:
        at, found = 0, 0  # at: the frame that is grabbed next
        for place in places:
            if told and place - at > FAR:
                video.set(cv2.CAP_PROP_POS_FRAMES, place)
                at = place
            while at <= place and video.grab():  # without `retrieve`, which makes RGB of it
                at += 1
            whole, pixels = video.retrieve() if at > place else (False, None)
            if whole and pixels is not None:
                found += 1
                yield Frame(max(video.get(cv2.CAP_PROP_POS_MSEC), 0) / 1000, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    if not found:
        raise ImageError("a video of which no frame can be read")


def _told_length(path: Path) -> int:
    """Return how many frames a file says it has, or 0 if it says nothing or does not end about there."""
    with _opened(path) as video:
        length = round(video.get(cv2.CAP_PROP_FRAME_COUNT))
        slack = min(1 + length // 50, SLACK)
        if length <= slack:
            return 0  # so short that it costs nothing to count
        video.set(cv2.CAP_PROP_POS_FRAMES, length - slack)
        left = next((number for number in range(2 * slack + 1) if not video.grab()), 0)
        return length if left else 0


def _counted_length(path: Path) -> int:
    length = 0
    with _opened(path) as video:
        while video.grab():
            length += 1
    return length


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    _check(path)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # nothing; FFmpeg's lines would stand among ours
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)  # what begins with / is no address for FFmpeg
    try:
        if not video.isOpened():
            raise ImageError("not a video, or a damaged one; MP4, MOV, M4V, AVI, MKV and WebM are read")
        megapixels = video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT) / 1e6
        if megapixels * 1e6 > MAX_PIXELS:
            raise ImageError(f"frames of {megapixels:.0f} megapixels; at most {MAX_PIXELS // 1_000_000} are read")
        yield video
    except cv2.error as error:
        raise ImageError(f"a damaged video ({type(error).__name__})") from None
    finally:
        video.release()


def _check(path: Path) -> None:
    try:
        str(path.absolute()).encode()  # OpenCV crashes over what cannot be encoded
    except UnicodeEncodeError:
        raise ImageError("its path is not valid UTF-8, in which alone OpenCV opens videos; rename it") from None
    with opening(path, "a video") as file:
        if not file.read(1):
            raise ImageError("an empty file")
