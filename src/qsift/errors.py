"""The errors that qsift raises.

    QsiftError
    ├─ UnknownModelError      .name .known
    ├─ ModelFileError         .path .reason
    ├─ DownloadError          .repo .filename .reason
    ├─ UploadError            .repo .reason
    ├─ InputTooLongError      .index .n_tokens .max_tokens
    ├─ EngineError            .code
    │  ├─ EngineMemoryError
    │  └─ NonFiniteError      .index
    ├─ ConversionError        .problems
    ├─ DocumentError          .source .reason
    ├─ SearchIndexError       .path .reason
    └─ MissingExtraError      .package .extra    (also an ImportError)

A caller's bug (a number where a text belongs, a width out of range) stays a TypeError or a
ValueError. Every sentence says what is wrong, what was found or is allowed, and what to do next.
This file knows nothing of the rest of qsift.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath


class QsiftError(Exception):
    """The root of every error that qsift raises on purpose."""


class UnknownModelError(QsiftError):
    """A name that is no file and no model that can be loaded by its name.

    Attributes:
        name: the name as given.
        known: the names that would have worked.
    """

    def __init__(
        self, name: str, known: Iterable[str] = (), *, advice: str = "", problem: str = "is not a file"
    ) -> None:
        self.name = name
        self.known = tuple(known)
        names = f" Names that can be loaded: {', '.join(self.known)}." if self.known else ""
        super().__init__(f"{name!r} {problem}.{names} {advice}".rstrip())


class ModelFileError(QsiftError):
    """A model file that is missing, damaged, or made for another purpose.

    Attributes:
        path: the file.
        reason: one or more sentences, also the message after the file's name.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        self.path = fspath(path)
        self.reason = reason
        super().__init__(f"{self.path!r}: {reason}")


class DownloadError(QsiftError):
    """A file that could not be fetched from a hub.

    Attributes:
        repo: the repository's id.
        filename: the file inside it.
        reason: one or more sentences, also the message after both names.
    """

    def __init__(self, repo: str, filename: str, reason: str) -> None:
        self.repo = repo
        self.filename = filename
        self.reason = reason
        super().__init__(f"Could not fetch {filename!r} of {repo!r}: {reason}")


class UploadError(QsiftError):
    """A repository that could not be made or written to.

    Attributes:
        repo: the repository's id.
        reason: one or more sentences, also the message after the id.
    """

    def __init__(self, repo: str, reason: str) -> None:
        self.repo = repo
        self.reason = reason
        super().__init__(f"{repo!r} was not uploaded: {reason}")


class InputTooLongError(QsiftError):
    """A text longer than the limit, where cutting was not allowed or not possible.

    Attributes:
        index: position of the text in the caller's list, from 0.
        n_tokens: its length in tokens, template and end token included.
        max_tokens: the limit in tokens.
    """

    def __init__(
        self, index: int, n_tokens: int, max_tokens: int, *, kind: str = "Text", advice: str | None = None
    ) -> None:
        self.index = index
        self.n_tokens = n_tokens
        self.max_tokens = max_tokens
        advice = advice or "Shorten it, or pass truncate=True."
        super().__init__(f"{kind} {index} is {n_tokens} tokens long. The limit is {max_tokens}. {advice}")


class EngineError(QsiftError):
    """llama.cpp refused or failed.

    Attributes:
        code: llama.cpp's return code, or None where it gave none.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        self.code = code
        super().__init__(message)


class EngineMemoryError(EngineError):
    """There was no memory for the weights, the context or a batch."""


class NonFiniteError(EngineError):
    """The model gave NaN or Inf for a text, twice.

    Attributes:
        index: position of the text in the caller's list, from 0.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(
            f"The model gives NaN or Inf for text {index}, also when it is computed alone. "
            "F16 weights of the 8B models overflow on some texts: use a BF16 or a quantised file."
        )


class ConversionError(QsiftError):
    """A checkpoint that cannot be converted.

    Attributes:
        problems: every problem that was found, a sentence each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"The checkpoint was not converted ({count}):{lines}")


class DocumentError(QsiftError):
    """A document that cannot be read: it is gone, damaged, locked, or no text.

    Attributes:
        source: the document's name.
        reason: one or more sentences, also the message after the name.
    """

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source!r}: {reason}")


class SearchIndexError(QsiftError):
    """A search index that is missing, damaged, in use, or made with another model.

    Attributes:
        path: the index's folder.
        reason: one or more sentences, also the message after the folder's name.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        self.path = fspath(path)
        self.reason = reason
        super().__init__(f"{self.path!r}: {reason}")


class MissingExtraError(QsiftError, ImportError):
    """An optional package that is not installed.

    Attributes:
        package: the package that is missing.
        extra: qsift's extra that installs it.
    """

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs {package}. Install it with: pip install 'qsift[{extra}]'.")
