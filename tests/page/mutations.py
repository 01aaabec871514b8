"""Files that a hostile visitor sends: damaged pictures, pictures that lie about themselves, and what is no picture."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SECRET = "taken at 52.5200 N 13.4050 E"  # stands in every picture's metadata, and must stand nowhere else
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 60_000, 0x7FFFFFFF, 0xFFFFFFFF)
NAMES = (
    *("-rf.jpg", "a" * 255, "ä" * 120 + ".jpg", "../../etc/passwd.png", "..\\..\\x.png", "/abs.gif", "a\x00b.png"),
    *("a\nb\r\n.png", "\x1b[31m.png", "%2e%2e%2f.jpg", "\u202egpj.exe", "💥.webp", ".hidden", "CON.png", "a;b&c|d.tif"),
    *("<img src=x onerror=alert(1)>.png", '"quoted".jpg', "'; drop table x.bmp", "=cmd().jpg", " . ", "{}[]$(id).gif"),
)
NO_PICTURES = (
    b"",
    b"\x00" * 1000,
    b"just text",
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='file:///etc/passwd'/></svg>",
    b"<!doctype html><script>fetch('http://127.0.0.1:1/')</script>",
    b"%PDF-1.7\n%%EOF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
    b"P6 9 9 255\n" + b"x" * 243,
    b"\x89HDF\r\n\x1a\n" + b"\x00" * 100,
    b"PK\x03\x04" + b"\x00" * 100,
    b"\x1f\x8b\x08" + b"\x00" * 100,
    b"\x00\x00\x00\x18ftypheic" + b"\x00" * 100,
)


def hostile(number: int) -> Iterator[tuple[str, bytes]]:
    """Make files of all kinds, the same ones every time.

    Args:
        number: How many.

    Yields:
        A file's name and its content, at most some kilobytes.
    """
    rng = np.random.default_rng(0)
    whole = pictures()
    for i in range(number):
        kind, content = whole[int(rng.integers(len(whole)))]
        mutate = MUTATIONS[i % len(MUTATIONS)]
        content = mutate(rng, content)
        yield (NAMES[int(rng.integers(len(NAMES)))] if i % 4 == 0 else f"{i}.{kind}"), content + b" " * (i % 3)


def pictures() -> list[tuple[str, bytes]]:
    """Make an intact picture in each format and flavour that is read: its suffix and its content."""
    rng = np.random.default_rng(1)
    frames = [Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)) for _ in range(3)]
    moving = {"save_all": True, "append_images": frames[1:]}
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = SECRET, 6  # ImageDescription, Orientation
    text = PngInfo()
    text.add_text("Comment", SECRET)
    first, icc = frames[0], bytes(rng.integers(0, 256, 300, dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (40, 48), dtype=np.uint16))
    return [
        ("jpg", _saved(first, "JPEG", exif=exif, icc_profile=icc, comment=SECRET)),
        ("jpg", _saved(first, "JPEG", exif=exif, progressive=True)),
        ("jpg", _saved(first.convert("CMYK"), "JPEG")),
        ("png", _saved(first, "PNG", exif=exif, pnginfo=text, icc_profile=icc)),
        ("png", _saved(first.convert("RGBA"), "PNG")),
        ("png", _saved(first.convert("P"), "PNG", transparency=3)),
        ("png", _saved(deep, "PNG")),
        ("png", _saved(first, "PNG", **moving)),
        ("webp", _saved(first, "WEBP", exif=exif, icc_profile=icc)),
        ("webp", _saved(first, "WEBP", lossless=True)),
        ("webp", _saved(first, "WEBP", **moving)),
        ("gif", _saved(first, "GIF", comment=SECRET)),
        ("gif", _saved(first, "GIF", **moving)),
        ("bmp", _saved(first, "BMP")),
        ("bmp", _saved(first.convert("P"), "BMP")),
        ("tif", _saved(first, "TIFF", description=SECRET, compression="tiff_lzw")),
        ("tif", _saved(first, "TIFF", **moving)),
        ("tif", _saved(first, "TIFF", compression="jpeg")),
        ("tif", _saved(deep, "TIFF", compression="tiff_adobe_deflate")),
        ("jpg", _saved(first, "MPO", exif=exif, **moving)),
    ]


def png(width: int, height: int, rows: int | None = None) -> bytes:
    """Make a black PNG of one bit a pixel, some kilobytes whatever its size; `rows` of it are there, or all."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _saved(image: Image.Image, kind: str, **how) -> bytes:
    file = BytesIO()
    image.copy().save(file, kind, **how)  # what was saved once keeps how, and the next format trips over it
    return file.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _intact(rng: np.random.Generator, content: bytes) -> bytes:
    return content


def _cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _flip_bits(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = np.frombuffer(content, np.uint8).copy()
    at = rng.integers(0, len(damaged), int(rng.integers(1, 20)))
    damaged[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return damaged.tobytes()


def _damage_head(rng: np.random.Generator, content: bytes) -> bytes:
    return content[:4] + _flip_bits(rng, content[4:200]) + content[200:]


def _lie(rng: np.random.Generator, content: bytes) -> bytes:
    """Write extreme numbers into the part that tells sizes and places."""
    told = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        form = ("<H", ">H", "<I", ">I")[int(rng.integers(4))]
        most = 256 ** struct.calcsize(form) - 1
        extreme = EXTREMES[int(rng.integers(len(EXTREMES)))]
        struct.pack_into(form, told, int(rng.integers(4, min(len(told), 300) - 4)), min(extreme, most))
    return bytes(told)


def _lie_at_the_end(rng: np.random.Generator, content: bytes) -> bytes:
    """Do the same where TIFF keeps its tags."""
    return _lie(rng, content[::-1])[::-1]


def _declare_huge(rng: np.random.Generator, content: bytes) -> bytes:
    """Declare more pixels than there are, in the way of the format."""
    width, height = (int(rng.choice([9_000, 20_000, 60_000, 65_535])) for _ in range(2))
    told = bytearray(content)
    if content.startswith(b"\x89PNG"):
        told[16:33] = struct.pack(">II", width, height) + content[24:29] + b"crc "
        told[29:33] = struct.pack(">I", zlib.crc32(told[12:29]))
    elif content.startswith(b"\xff\xd8"):
        at = max(content.find(b"\xff\xc0\x00"), content.find(b"\xff\xc2\x00"))
        told[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif content.startswith(b"GIF"):
        told[6:10] = struct.pack("<HH", width, height)
    elif content.startswith(b"BM"):
        told[18:26] = struct.pack("<ii", width, -height)
    elif content.startswith(b"RIFF"):
        told[24:30] = struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
    else:
        for tag, value in ((256, width), (257, height)):
            at = content.find(struct.pack("<H", tag))
            told[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(told)


def _splice(rng: np.random.Generator, content: bytes) -> bytes:
    """Put a piece of it into another place."""
    start, end, to = sorted(int(at) for at in rng.integers(0, len(content), 3))
    return content[:to] + content[start:end] + content[to:]


def _take_out(rng: np.random.Generator, content: bytes) -> bytes:
    start, end = sorted(int(at) for at in rng.integers(0, len(content), 2))
    return content[:start] + content[end:]


def _put_noise_in(rng: np.random.Generator, content: bytes) -> bytes:
    at = int(rng.integers(len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 400))) + content[at:]


def _keep_the_magic_alone(rng: np.random.Generator, content: bytes) -> bytes:
    return content[:12] + rng.bytes(int(rng.integers(0, 3000)))


def _garble_metadata(rng: np.random.Generator, content: bytes) -> bytes:
    at = max(content.find(b"Exif"), content.find(b"II*\x00"), content.find(b"MM\x00*"), 8)
    return content[:at] + _flip_bits(rng, content[at : at + 300]) + content[at + 300 :]


def _bomb(rng: np.random.Generator, content: bytes) -> bytes:
    return png(*(int(rng.choice([30_000, 60_000, 2**31 - 1])) for _ in range(2)), rows=1)


def _no_picture(rng: np.random.Generator, content: bytes) -> bytes:
    return NO_PICTURES[int(rng.integers(len(NO_PICTURES)))]


MUTATIONS: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    *(_intact, _cut, _flip_bits, _damage_head, _lie, _lie_at_the_end, _declare_huge, _splice, _take_out),
    *(_put_noise_in, _keep_the_magic_alone, _garble_metadata, _no_picture),
)
