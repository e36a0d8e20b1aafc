"""Files that look like pictures of formats that are not read: they are to be counted, not ignored."""

import pathlib

_SUFFIXES = frozenset(
    """
    .apng .arw .avif .cr2 .cr3 .cur .dcm .dds .dib .dng .emf .eps .exr .hdr .heic .heics .heif .icns .ico
    .j2k .jfi .jfif .jif .jp2 .jpe .jpf .jpx .jxl .jxr .mpo .nef .orf .pbm .pcx .pef .pfm .pgm .pic .pict
    .pjp .pjpeg .pnm .ppm .psb .psd .qoi .raf .raw .rgb .rw2 .sgi .srw .svg .svgz .tga .wdp .wmf .xbm .xcf
    .xpm
    """.split()  # noqa: SIM905
)
# What the files of common formats begin with, whatever their names.
_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"8BPS",
)
_LONGEST = 12


def looks_like_picture(file: pathlib.Path) -> bool:
    """Whether a file has the name or the first bytes of a picture; False where it is no file or cannot be read."""
    if not file.is_file():
        return False
    if file.suffix.lower() in _SUFFIXES:
        return True
    try:
        with file.open("rb") as opened:
            start = opened.read(_LONGEST)
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_heif = start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif")
    return start.startswith(_BEGINNINGS) or is_webp or is_heif
