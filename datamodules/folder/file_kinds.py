"""What a file's name says it is, and what its first bytes say.

Pictures are always read by their content. The name decides which files are looked at, so a picture that its
name hides, and a name that fits another format, are said.
"""

from pathlib import Path

SUFFIXES = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"},
    "WebP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "JPEG 2000": {".jp2"},
    "TGA": {".tga"},  # has no first bytes of its own
}
READABLE = set().union(*SUFFIXES.values())
# Pillow can't open these: they are named as unreadable pictures, not passed over as other files.
UNREADABLE = {
    *(".heic", ".heif", ".jxl", ".psd", ".svg", ".xcf", ".exr"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"),
}
PICTURE_SUFFIXES = READABLE | UNREADABLE
LONGEST_START = 16  # bytes


def is_picture_name(path: Path) -> bool:
    """Whether the name says that it is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def format_of(path: Path) -> str:
    """The format (a key of `SUFFIXES`) that the first bytes say, or "" if they say none or can't be read."""
    if not path.is_file():  # reading a pipe would wait for ever
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_START)
    except OSError:
        return ""
    return _format_of_start(start)


def misnamed_as(path: Path) -> str:
    """The format of a picture whose suffix belongs to another one, or ""."""
    suffix, found = path.suffix.lower(), format_of(path)
    return found if found and suffix in READABLE and suffix not in SUFFIXES[found] else ""


def _format_of_start(start: bytes) -> str:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3] in (b" ", b"\n", b"\r", b"\t"):
        return "PPM"
    for name, signature in _SIGNATURES:
        if start.startswith(signature):
            return name
    return ""


_SIGNATURES = (
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("JPEG", b"\xff\xd8\xff"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
)  # BMP's two letters also begin texts
