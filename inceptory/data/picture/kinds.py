"""Which files are pictures: the formats that are accepted, by the first bytes of a file, and what names promise.

JPEG 2000 and AVIF are accepted where Pillow has their decoders. A TGA has no first bytes of its own: it is one by the
end of its name, or by the last bytes that newer ones have. HEIC is accepted where pillow-heif is installed, and its
decoder loaded only when such a file comes.
"""

from __future__ import annotations

from PIL import features

from inceptory.errors import DataError

PLAIN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
FORMATS = (*PLAIN, "TGA", "AVIF", "JPEG2000")
JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""ISO/IEC 15444-1: the first bytes of a .jp2, and of the codestream alone."""
PPM = tuple(b"P%d%c" % (number, space) for number in range(1, 7) for space in b" \t\n\r")
BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", *JPEG_2000, *PPM)
"""First bytes of those formats: a file with them that cannot be read is a damaged one."""
TGA_END = b"TRUEVISION-XFILE.\0"
"""Last bytes of a TGA of version 2."""
ENDINGS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif"), "HEIF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpx", ".jpf"), "JPEG2000"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "GIF", "BMP", "TGA", "AVIF")},
}
"""What the end of a file's name promises."""
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
"""ISO/IEC 23008-12: what a file of HEVC-coded pictures calls itself or says it is compatible with."""
AVIF_BRANDS = {b"avif", b"avis"}


def _brands(data: bytes) -> set[bytes]:
    """What a file of boxes (ISO/IEC 14496-12) calls itself; nothing for another one."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[at : at + 4] for at in range(8, end, 4)} if data[4:8] == b"ftyp" else set()


def is_heic(data: bytes) -> bool:
    """Whether these are the first bytes of a HEIC file, as telephones write it."""
    return not HEIC_BRANDS.isdisjoint(_brands(data))


def is_known(data: bytes) -> bool:
    """Whether a file begins as an accepted format does, so that one that cannot be read is damaged."""
    return data.startswith(BEGINNINGS) or is_heic(data) or not AVIF_BRANDS.isdisjoint(_brands(data))


def formats_of(data: bytes, name: str) -> tuple[str, ...]:
    """What this content may be opened as by Pillow; raises DataError where the decoder that it needs is not here."""
    if is_heic(data):
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise DataError(f"{name}: a HEIC photo (pip install 'inceptory[heic]' reads them)") from None
        register_heif_opener()
        return ("HEIF",)
    if not AVIF_BRANDS.isdisjoint(_brands(data)):
        return (_decoder("AVIF", "avif", name),)
    if data.startswith(JPEG_2000):
        return (_decoder("JPEG2000", "jpg_2000", name),)
    if name.lower().endswith(".tga") or data.endswith(TGA_END):
        return PLAIN if data.startswith(BEGINNINGS) else ("TGA",)
    return PLAIN


def _decoder(kind: str, feature: str, name: str) -> str:
    # Pillow knows no feature of a format that it is too old for, and warns of it.
    if feature not in (*features.modules, *features.codecs) or not features.check(feature):
        raise DataError(f"{name}: {kind}, which the Pillow that is installed does not decode (pip install -U pillow)")
    return kind
