"""What an index is made with, kept in it, and held against what a later user brings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

from qsift.errors import SearchIndexError
from qsift.models import ModelFile
from qsift.text import check_dim

FORMAT = 2
"""Version of an index's layout and of how its texts are split; a reader refuses any other."""


@dataclass(frozen=True)
class IndexOptions:
    """How an index is made and used. What it was made with is kept in it: None there takes what is kept.

    Attributes:
        truncate_dim: width of the vectors; a new index takes the model's full one.
        precision: "float32" or "int8"; a new index takes "float32". int8 needs a quarter of the disk and
            is always scanned whole, in memory, a byte for each entry.
        max_tokens, overlap: longest passage, and what neighbours share; a new index takes 256 and 32.
        batch: passages that are embedded and written together; also what a kill can cost.
        exact_rows: passages above which float32 vectors get an approximate index.
        wait: seconds to wait for another process that writes; below 0 for as long as it takes.
    """

    truncate_dim: int | None = None
    precision: Literal["float32", "int8"] | None = None
    max_tokens: int | None = None
    overlap: int | None = None
    batch: int = 1024
    exact_rows: int = 20_000
    wait: float = 10.0

    def __post_init__(self) -> None:
        if self.precision not in (None, "float32", "int8"):
            raise ValueError(f"precision is {self.precision!r}; an index takes 'float32' or 'int8'.")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; at least 1 is needed.")


@dataclass(frozen=True)
class Settings:
    """The facts that an index keeps.

    Attributes:
        format: version of the layout.
        model, quant, fingerprint: the model's name, quantisation and digest.
        width, precision: of the vectors.
        max_tokens, overlap: of the passages.
    """

    format: int
    model: str
    quant: str
    fingerprint: str
    width: int
    precision: Literal["float32", "int8"]
    max_tokens: int
    overlap: int

    @classmethod
    def for_new(cls, file: ModelFile, options: IndexOptions) -> Settings:
        """Returns what a new index of a model is made with.

        Raises:
            TypeError, ValueError: a width out of range.
            ModelFileError: the model's file is gone.
        """
        return cls(
            format=FORMAT,
            model=file.name,
            quant=file.quant,
            fingerprint=file.fingerprint(),
            width=check_dim(options.truncate_dim, width=file.width, min_dim=file.min_dim),
            precision=options.precision or "float32",
            max_tokens=256 if options.max_tokens is None else options.max_tokens,
            overlap=32 if options.overlap is None else options.overlap,
        )

    def to_json(self) -> bytes:
        """Returns what `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Settings:
        """Returns the settings of the index at ``path``.

        Raises:
            SearchIndexError: of another version, or not ours.
        """
        try:
            values = cast(dict[str, Any], json.loads(data))
            version = values["format"]
        except (ValueError, LookupError, TypeError):
            raise SearchIndexError(path, "This LanceDB table is not qsift's. Pass another path.") from None
        if version != FORMAT or values.keys() != {field.name for field in fields(cls)}:
            reason = f"The index has version {version!r}; this qsift knows {FORMAT}. Index again into a new folder."
            raise SearchIndexError(path, reason)
        return cls(**values)

    def check(self, wanted: Settings | None, options: IndexOptions, path: str) -> None:
        """Checks that the index can be used with another's model, if one is given, and options.

        Raises:
            SearchIndexError: another model, or an option that says otherwise than the index.
        """
        if wanted and self.fingerprint != wanted.fingerprint:
            raise SearchIndexError(
                path,
                f"It was made with the model {self.model!r} in {self.quant} and its vectors mean nothing to "
                f"{wanted.model!r} in {wanted.quant}, which was loaded. Load that model's file, or index again "
                "into a new folder.",
            )
        names = {"truncate_dim": "width", "precision": "precision", "max_tokens": "max_tokens", "overlap": "overlap"}
        for option, name in names.items():
            asked, kept = getattr(options, option), getattr(self, name)
            if asked is not None and asked != kept:
                raise SearchIndexError(
                    path,
                    f"It was made with {option}={kept!r} and was opened with {option}={asked!r}. Leave "
                    f"{option} out, or index again into a new folder.",
                )
