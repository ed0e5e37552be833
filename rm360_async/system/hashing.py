"""The hash of a published file: XXH3 with 128 bits.

It detects damage by disks, cables and memory. It does not protect against a person who changes a file and the list
beside it; no hash in the same folder could. Chosen by measurement, random blobs of 277 kB (a frame), one thread:
xxh3_128 11.4 GB/s (0.024 ms a frame), crc32 3.6, blake3 3.1, sha1 1.6, sha256 1.5, blake2b 0.7, md5 0.65.
Read from the page cache by pread first, it is 5.0 GB/s (0.055 ms).
"""

from __future__ import annotations

import os

import xxhash

_CHUNK_BYTES = 2**20


def hash_of(data: bytes | memoryview) -> bytes:
    """Return the 16 bytes of the hash of some data."""
    return xxhash.xxh3_128_digest(data)


def hash_of_range(descriptor: int, offset: int, size: int) -> bytes:
    """Return the 16 bytes of the hash of a range of an open file; EOFError if the file ends before its end."""
    if size <= _CHUNK_BYTES:
        data = os.pread(descriptor, size, offset)
        if len(data) == size:
            return hash_of(data)
    hasher = xxhash.xxh3_128()
    done = 0
    while done < size:
        data = os.pread(descriptor, min(_CHUNK_BYTES, size - done), offset + done)
        if not data:
            raise EOFError(f"the file ends after {offset + done} bytes")
        hasher.update(data)
        done += len(data)
    return hasher.digest()
