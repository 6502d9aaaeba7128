"""Headers of codecs, bit by bit: a few hundred bytes that declare a picture of gigabytes.

Source: ITU-T H.264 7.3.2 and 7.3.3; the VP9 bitstream specification 6.2.
"""

from __future__ import annotations

START = b"\0\0\0\1"


class Bits:
    """Bits, the first the highest of its byte."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def fixed(self, count: int, value: int) -> None:
        """Append a number of so many bits."""
        self._bits += [value >> place & 1 for place in reversed(range(count))]

    def golomb(self, *values: int) -> None:
        """Append Exp-Golomb codes (H.264 9.1)."""
        for value in values:
            count = (value + 1).bit_length()
            self.fixed(count - 1, 0)
            self.fixed(count, value + 1)

    def packed(self) -> bytes:
        """Return them as bytes, filled up with zeros."""
        bits = self._bits + [0] * (-len(self._bits) % 8)
        return bytes(int("".join(map(str, bits[place : place + 8])), 2) for place in range(0, len(bits), 8))

    def payload(self) -> bytes:
        """Return them as H.264's payload: a stop bit, and no three bytes that look like a start code."""
        self.fixed(1, 1)
        out, zeros = bytearray(), 0
        for byte in self.packed():
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = 0 if byte else zeros + 1
        return bytes(out)


def h264(width: int, height: int, slices: int, references: int = 1) -> bytes:
    """Return an elementary stream of baseline intra slices full of nonsense, of a declared size."""
    body = START + _sequence(width, height, references) + START + _pictures()
    return body + b"".join(START + _slice(number & 1) for number in range(slices))


def vp9_keyframe(width: int, height: int) -> bytes:
    """Return a VP9 frame with the header of a keyframe of a declared size, and nonsense behind it."""
    bits = Bits()
    for count, value in (
        (2, 2), (1, 0), (1, 0), (1, 0), (1, 0), (1, 1), (1, 0), (24, 0x498342), (3, 2), (1, 0), (16, width - 1),
        (16, height - 1), (1, 0), (1, 0), (1, 1), (2, 0), (6, 0), (3, 0), (1, 0), (8, 50), (3, 0), (1, 0), (6, 0),
        (1, 0), (16, 10),
    ):  # fmt: skip
        bits.fixed(count, value)
    return bits.packed() + b"\x55" * 64


def _sequence(width: int, height: int, references: int) -> bytes:
    bits = Bits()
    for value in (66, 0, 62):  # baseline, no constraints, level 6.2
        bits.fixed(8, value)
    bits.golomb(0, 0, 2, references)
    bits.fixed(1, 0)
    bits.golomb(width // 16 - 1, height // 16 - 1)
    bits.fixed(4, 0b1100)
    return b"\x67" + bits.payload()


def _pictures() -> bytes:
    bits = Bits()
    bits.golomb(0, 0)
    bits.fixed(2, 0)
    bits.golomb(0, 0, 0)
    bits.fixed(3, 0)
    bits.golomb(0, 0, 0)
    bits.fixed(3, 0)
    return b"\x68" + bits.payload()


def _slice(number: int) -> bytes:
    bits = Bits()
    bits.golomb(0, 7, 0)
    bits.fixed(4, 0)
    bits.golomb(number)
    bits.fixed(2, 0)
    bits.golomb(0, 0)
    for _ in range(20):
        bits.fixed(8, 0x55)
    return b"\x65" + bits.payload()
