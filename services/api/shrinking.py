"""What runs inside a process of shrinker.py: `python -m services.api.shrinking MAX_PIXELS`; jobs and images in, thumbnails out."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import cast

import msgspec

# Importing a plug-in registers its format. These are all that there will be: Image.init, which loads the other forty, isn't called.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from services.api.shrinker import Job, Shrunk
from shared import sandboxed

DECODED_PIXELS = 50_000_000
"""Of formats that can't be decoded at a smaller size, as JPEG can: 200 MB, and twice that while an image with transparency is made smaller."""
QUALITY = 80
EFFORT = 3
"""Of WebP's 6: half the time of the default for one part in fifty more bytes."""
NICENESS = 5
_GAP = 2.0
"""JPEG is decoded, and others are reduced, to no less than so many times the size, so that the rest can be resampled well."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ON_THE_SIDE = frozenset({5, 6, 7, 8})


def main() -> None:
    """Answers until its input ends."""
    os.nice(NICENESS)
    sandboxed.confine()
    pixels = int(sys.argv[1])
    sandboxed.serve(sys.stdin.buffer, sys.stdout.buffer, lambda job, body: answer(job, body, pixels))


def answer(job: bytes, body: bytes, pixels: int) -> bytes:
    """A thumbnail, or why there is none, as a message."""
    return msgspec.msgpack.encode(shrunk(msgspec.msgpack.decode(job, type=Job), body, pixels))


def shrunk(job: Job, body: bytes, pixels: int) -> Shrunk:
    """The thumbnail of an image that has no more than so many pixels."""
    try:
        # A picture whose end is missing is kept if browsers show it (services/fetcher/opening.py): what is there is shown here too.
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        Image.MAX_IMAGE_PIXELS = pixels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body), formats=[job.format]) as image:
                return _saved(_small(image, job, min(pixels, DECODED_PIXELS)))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Shrunk(problem=f"The image has more than {pixels:,} pixels.")
    except MemoryError:
        return Shrunk(problem="The image can't be decoded within the limit of memory.")
    except _TooLargeError as error:
        return Shrunk(problem=str(error))
    except Exception:  # noqa: BLE001  (a broken file gets anything out of a plug-in)
        return Shrunk(problem="The image can't be decoded.")


class _TooLargeError(Exception):
    pass


def _small(image: Image.Image, job: Job, most: int) -> Image.Image:
    """The first frame, upright, in a box, in sRGB."""
    profile = image.info.get("icc_profile")
    if image.format == "JPEG":
        longest = max(job.width, job.height)
        image.draft(None, (int(longest * _GAP), int(longest * _GAP)))
    elif image.width * image.height > most:
        raise _TooLargeError(f"Of images that aren't JPEG, thumbnails are made up to {most:,} pixels.")
    image.load()
    orientation = _orientation(image)  # only now: some plug-ins turn what they load
    small = _plain(image)
    box = (job.height, job.width) if orientation in _ON_THE_SIDE else (job.width, job.height)
    small.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=_GAP)
    upright = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
    return _in_srgb(upright, profile)


def _orientation(image: Image.Image) -> int:
    """TIFF 6.0, Orientation: 1 is upright."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  (the picture is there, whatever somebody wrote beside it)
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be resampled."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.mode in {"L", "RGB", "RGBA", "CMYK"} and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits or more, which may be of any range: from its darkest to its brightest."""
    wide = image.convert("F")
    low, high = cast("tuple[float, float]", wide.getextrema())
    scale = 255 / (high - low or 1)
    return wide.point(lambda value: value * scale - low * scale).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        try:
            given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, given, srgb, outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # broken, or of another kind than the image
        if converted is not None:
            return converted
    return image if image.mode == mode else image.convert(mode)


def _saved(image: Image.Image) -> Shrunk:
    kept = Image.new(image.mode, image.size)
    kept.paste(image)  # the pixels, and nothing else: no profile, no Exif, no comment
    file = io.BytesIO()
    kept.save(file, "WEBP", quality=QUALITY, method=EFFORT)
    return Shrunk(body=file.getvalue(), width=image.width, height=image.height)


if __name__ == "__main__":
    main()
