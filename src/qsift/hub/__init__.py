"""Names to files: what a model may be called, which are on this machine, and how the others come here.

The only way to the network: Hugging Face and ModelScope. Nothing here loads a model. What needs a hub's client is
loaded when it is asked for, because a model that is on this machine needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .checksums import checksum
from .client import SOURCES
from .names import DEFAULT_QUANT
from .opening import BUNDLED, open_model
from .store import StoredModel, shelves

if TYPE_CHECKING:
    from .original import checkpoint_files
    from .pulling import pull, remove
    from .uploading import account, checked_repo, front_matter, upload

__all__ = ["open_model", "pull", "remove"]

_ONLINE = {
    "original": ("checkpoint_files",),
    "pulling": ("pull", "remove"),
    "uploading": ("account", "checked_repo", "front_matter", "upload"),
}


def __getattr__(name: str) -> Any:
    for file, names in _ONLINE.items():
        if name in names:
            return getattr(import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
