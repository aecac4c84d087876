"""Which model made these vectors: a digest that costs milliseconds whatever the file's size."""

from __future__ import annotations

import hashlib

from .gguf_header import read_header
from .model_file import ModelFile

SAMPLE = 4096
"""Bytes read from the middle of each tensor. Training and quantising change every tensor throughout."""


def fingerprint(file: ModelFile) -> str:
    """Returns 64 hexadecimal digits that differ between models, and between quantisations of one.

    They are the SHA-256 over what decides the vectors: the sizes and angles in the keys, each tensor's
    name, shape and type, and a sample of its weights. The file's name, path and age are not in it.

    Raises:
        ModelFileError: the file is gone or damaged.
    """
    header = read_header(file.path)
    digest = hashlib.sha256()
    for key in sorted(key for key in header.keys if key.startswith("qwen3.")):
        digest.update(f"{key}={header.keys[key]!r}\n".encode())
    with open(file.path, "rb") as weights:
        for tensor in header.tensors.values():
            digest.update(f"{tensor.name} {tensor.shape} {tensor.type_name}\n".encode())
            weights.seek(tensor.offset + max(tensor.nbytes - SAMPLE, 0) // 2)
            digest.update(weights.read(min(SAMPLE, tensor.nbytes)))
    return digest.hexdigest()
