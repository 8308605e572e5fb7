#!/usr/bin/env python3
"""Draws the pictures of tests/corpus/image (needs Pillow; nothing else needs this script).

A 9 x 7 picture of our own in every form that pictures/images.c reads, and files that it must
refuse. tests/test_images.c looks at some of them by name, tests/fuzz_image.c begins with all.
"""
import io
import os
import struct
import zlib

from PIL import Image

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "image")
W, H = 9, 7
PIXELS = [((28 * x) % 256, (36 * y) % 256, (17 * (x + y) + 60) % 256) for y in range(H) for x in range(W)]


def save(name, data):
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(data)


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, interlace=0, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra +
            chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def ppm():
    raw = bytes(v for p in PIXELS for v in p)
    grey = bytes(p[0] for p in PIXELS)
    save("p6.ppm", b"P6\n# a comment\n9 7\n255\n" + raw)
    save("p5.pgm", b"P5 9 # width\n7\r\n255 " + grey)
    save("p3.ppm", b"P3\n9 7 255\n" + b" ".join(b"%d" % v for v in raw) + b"\n")
    save("p6-16bit.ppm", b"P6 1 1 65535\n" + bytes(6))
    save("p6-cut.ppm", b"P6 9 7 255\n" + raw[:-1])
    save("p6-head.ppm", b"P6 9 7")
    save("p6-word.ppm", b"P6 9 x 255\n")
    save("p6-huge.ppm", b"P6 65535 65535 255\n")
    save("p6-zero.ppm", b"P6 0 7 255\n")
    save("p6-noblank.ppm", b"P6 1 1 255#" + bytes(3))
    save("p5-long.pgm", b"P5 2001 1 255\n" + bytes(2001))
    save("p3-large.ppm", b"P3 1 1 255 1 256 3 ")
    save("p3-cut.ppm", b"P3 1 1 255 1      2")
    save("p2.pgm", b"P2 1 1 255 7")


def pngs(image):
    rows = b"".join(b"\0" + bytes(v for p in PIXELS[y * W:y * W + W] for v in p) for y in range(H))
    save("rgb.png", png(W, H, 8, 2, rows))
    deep = b"".join(b"\0" + bytes(b for p in PIXELS[y * W:y * W + W] for v in p for b in (v, 255 - v))
                    for y in range(H))
    save("rgb16.png", png(W, H, 16, 2, deep))
    save("filters.png", encoded(image, format="PNG", optimize=True))
    save("grey.png", encoded(image.convert("L"), format="PNG"))
    save("palette.png", encoded(image.quantize(8), format="PNG"))
    save("bits.png", encoded(image.convert("1"), format="PNG"))
    save("alpha.png", encoded(image.convert("RGBA"), format="PNG"))
    save("grey-alpha.png", encoded(image.convert("LA"), format="PNG"))
    save("adam7.png", png(2, 2, 8, 0, b"\0\x10\0\x20\0\x30\x40", interlace=1))
    save("huge.png", png(30000, 30000, 8, 0, bytes(10)))
    save("thin.png", png(8000, 8000, 1, 0, bytes(10)))
    save("broken.png", png(W, H, 8, 2, rows)[:-30])
    save("noend.png", png(W, H, 8, 2, rows)[:-12])
    save("badhead.png", png(W, H, 7, 2, rows))
    save("badrows.png", png(W, H, 8, 2, rows[:50]))


def jpegs(image):
    big = image.resize((24, 17), Image.BICUBIC)
    save("rgb.jpg", encoded(big, format="JPEG", quality=95, subsampling=0))
    half = encoded(big, format="JPEG", quality=80, subsampling=2)
    save("half.jpg", half)
    save("half-as-ppm.ppm", encoded(Image.open(io.BytesIO(half)).convert("RGB"), format="PPM"))
    save("progressive.jpg", encoded(big, format="JPEG", quality=80, progressive=True))
    save("grey.jpg", encoded(big.convert("L"), format="JPEG", quality=80))
    save("cmyk.jpg", encoded(big.convert("CMYK"), format="JPEG", quality=80))
    save("restart.jpg", encoded(big, format="JPEG", quality=80, restart_marker_blocks=2))
    save("rgb-as-ppm.ppm", encoded(big, format="PPM"))
    whole = encoded(big, format="JPEG", quality=80)
    at = whole.index(b"\xff\xc0") + 5
    save("cut.jpg", whole[:-90])
    save("onlyhead.jpg", b"\xff\xd8" + whole[at - 5:at] + struct.pack(">HH", 512, 512) +
         whole[at + 4:at + 14])
    table = whole.index(b"\xff\xc4") + 20
    save("huffman.jpg", whole[:table - 1] + b"\xff\xff" + whole[table + 1:])
    save("bomb.jpg", whole[:at] + struct.pack(">HH", 8000, 8000) + whole[at + 4:])


def others():
    save("empty", b"")
    save("gif", b"GIF89a\x01\x00\x01\x00")
    save("page.html", b"<!DOCTYPE html><title>404</title>")
    save("lfs", b"version https://git-lfs.github.com/spec/v1\n")
    save("text", b"hello")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    image = Image.new("RGB", (W, H))
    image.putdata(PIXELS)
    ppm()
    pngs(image)
    jpegs(image)
    others()


if __name__ == "__main__":
    main()
