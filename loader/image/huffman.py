"""Whether the Huffman-coded literals of a zstd frame end exactly where they should.

The kernel's zstd up to 6.14 (1.5.2) rejects a literals stream that still has bits left, or has too
few, when its last symbol is decoded. Later ones (6.15 took over 1.5.7), and the zstandard package,
decode such a stream without a word. In a frame without checksum this is the only difference
between damaged and sound, so for such frames the streams are walked once more here. The format is
RFC 8878; only as much of it is read as finding the ends needs.
"""

from __future__ import annotations

from collections.abc import Iterator

_RAW, _RLE, _COMPRESSED = 0, 1, 2  # block types
_LITERALS_COMPRESSED, _LITERALS_TREELESS = 2, 3

# size format -> (header bytes, bits of each size, streams)
_LITERALS_SIZES = ((3, 10, 1), (3, 10, 4), (4, 14, 4), (5, 18, 4))
_WINDOW = 64  # bytes decoded from one integer


def literals_end_exactly(frame: bytes) -> bool:
    """True if every Huffman stream of the frame ends with its last bit.

    For a frame that a decoder has already accepted, whole or cut short.
    """
    table: bytes = b""
    for block in _compressed_blocks(frame):
        kind, size_format = block[0] & 3, block[0] >> 2 & 3
        if kind not in (_LITERALS_COMPRESSED, _LITERALS_TREELESS):
            continue
        header, bits, streams = _LITERALS_SIZES[size_format]
        sizes = int.from_bytes(block[:header], "little") >> 4
        regenerated = sizes & (1 << bits) - 1
        content = block[header : header + (sizes >> bits)]
        if kind == _LITERALS_COMPRESSED:
            table, used = _code_lengths(content)
            content = content[used:]
        for stream, symbols in _streams(content, regenerated, streams):
            if not _ends_exactly(stream, symbols, table):
                return False
    return True


def _compressed_blocks(frame: bytes) -> Iterator[bytes]:
    descriptor = frame[4]
    single_segment = descriptor >> 5 & 1
    size_flag = descriptor >> 6
    position = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    position += 1 << size_flag if size_flag else single_segment
    while position + 3 <= len(frame):
        header = int.from_bytes(frame[position : position + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        position += 3
        end = position + (1 if kind == _RLE else size)
        if end > len(frame):
            return
        if kind == _COMPRESSED and size:  # zstd skips an empty one
            yield frame[position:end]
        if last:
            return
        position = end


def _streams(content: bytes, regenerated: int, count: int) -> Iterator[tuple[bytes, int]]:
    """(stream, symbols in it) of one literals section."""
    if count == 1:
        yield content, regenerated
        return
    sizes = [int.from_bytes(content[i : i + 2], "little") for i in (0, 2, 4)]
    segment, position = (regenerated + 3) // 4, 6
    for size in sizes:
        yield content[position : position + size], segment
        position += size
    yield content[position:], regenerated - 3 * segment


def _ends_exactly(stream: bytes, symbols: int, lengths: bytes) -> bool:
    """Decode ``symbols`` symbols backwards from the end mark; True if no bit is left or missing."""
    width = len(lengths).bit_length() - 1
    left = len(stream) * 8 - 9 + (stream[-1].bit_length() if stream else 0)  # bits below the mark
    while symbols and left > 0:
        # A window of the stream, since long integers are slow to shift.
        end = (left + 7) // 8
        start = max(0, end - _WINDOW)
        window = int.from_bytes(stream[start:end], "little") << width  # zeros before the stream
        needed = width if start else 1
        low, symbols = _decode(window, left - start * 8, needed, symbols, lengths)
        left = start * 8 + low
    return left == 0 and not symbols


def _decode(window: int, low: int, needed: int, symbols: int, lengths: bytes) -> tuple[int, int]:
    """Decode what is below bit ``low`` while ``needed`` bits are there; bits and symbols left."""
    mask = len(lengths) - 1
    while low >= needed and symbols:
        low -= lengths[window >> low & mask]
        symbols -= 1
    return low, symbols


def _code_lengths(content: bytes) -> tuple[bytes, int]:
    """(bits of the code that each index of the decoding table stands for, bytes it took)."""
    header = content[0]
    if header >= 128:
        count = header - 127
        used = 1 + (count + 1) // 2
        nibbles = [n for byte in content[1:used] for n in (byte >> 4, byte & 15)]
        weights = nibbles[:count]
    else:
        used = 1 + header
        weights = _fse_weights(content[1:used])
    total = sum(1 << weight - 1 for weight in weights if weight)
    width = total.bit_length()
    weights.append(((1 << width) - total).bit_length())
    table = bytearray()
    for weight in range(1, width + 1):
        table += bytes((width + 1 - weight,)) * (weights.count(weight) << weight - 1)
    return bytes(table), used


# -- the weights, FSE-coded -----------------------------------------------------------------------


class _Bits:
    """Bits read forwards (from the lowest) or backwards from the end mark; zeros past the end."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "little")
        self.position = 0
        self.left = self.value.bit_length() - 1

    def forwards(self, count: int) -> int:
        found = self.value >> self.position & (1 << count) - 1
        self.position += count
        return found

    def backwards(self, count: int) -> int:
        self.left -= count
        shifted = self.value >> self.left if self.left >= 0 else self.value << -self.left
        return shifted & (1 << count) - 1


def _fse_weights(data: bytes) -> list[int]:
    """Weights written by two interleaved FSE states until the bits run out."""
    log, counts, used = _normalized_counts(data)
    table = _fse_table(log, counts)
    bits = _Bits(data[used:])
    states = [bits.backwards(log), bits.backwards(log)]
    weights: list[int] = []
    turn = 0
    while len(weights) < 255:
        symbol, count, base = table[states[turn]]
        weights.append(symbol)
        states[turn] = base + bits.backwards(count)
        turn ^= 1
        if bits.left < 0:
            weights.append(table[states[turn]][0])
            break
    return weights


def _normalized_counts(data: bytes) -> tuple[int, list[int], int]:
    """(accuracy log, share of each symbol with -1 for "less than one", bytes it took)."""
    bits = _Bits(data)
    log = bits.forwards(4) + 5
    remaining = 1 << log
    counts: list[int] = []
    while remaining > 0 and len(counts) < 256:
        width = (remaining + 1).bit_length()
        short_values = (1 << width) - 2 - remaining
        value = bits.forwards(width - 1)
        if value >= short_values:
            value += bits.forwards(1) << width - 1
            if value >= 1 << width - 1:
                value -= short_values
        counts.append(value - 1)
        remaining -= abs(value - 1)
        zeros = 3 if value == 1 else 0
        while zeros == 3:
            zeros = bits.forwards(2)
            counts += [0] * zeros
    return log, counts, (bits.position + 7) // 8


def _fse_table(log: int, counts: list[int]) -> list[tuple[int, int, int]]:
    """For each state (symbol, bits to read, what to add to them for the next state)."""
    size = 1 << log
    symbols = [0] * size
    high = size
    for symbol, count in enumerate(counts):
        if count == -1:
            high -= 1
            symbols[high] = symbol
    position, step = 0, (size >> 1) + (size >> 3) + 3
    for symbol, count in enumerate(counts):
        for _ in range(max(count, 0)):
            symbols[position] = symbol
            position = (position + step) % size
            while position >= high:
                position = (position + step) % size
    nexts = [abs(count) for count in counts]
    table = []
    for symbol in symbols:
        state = nexts[symbol]
        nexts[symbol] += 1
        count = log - state.bit_length() + 1
        table.append((symbol, count, (state << count) - size))
    return table
