"""Models that load when they are used first, once in a process for the same settings.

Frameworks make their components from settings, and copy, pickle and save them; a loaded model can do
none of that. So a component holds its settings, and this. It knows no framework.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from qsift.embedder import Embedder
from qsift.reranker import Reranker

Model = TypeVar("Model", Embedder, Reranker)

_loaded: WeakValueDictionary[Any, Any] = WeakValueDictionary()
_lock = threading.Lock()


class LazyModel(Generic[Model]):
    """A model to be: calling it gives the model. Copies and pickles carry the settings alone."""

    def __init__(self, kind: type[Model], model: str | os.PathLike[str] | Model, **settings: Any) -> None:
        """Takes note of what to load.

        Args:
            kind: Embedder or Reranker.
            model: a path or a name as its ``load`` takes it; or a loaded model, which is used as it is, and
                stays the caller's to close.
            settings: the other arguments of ``load``, which must be hashable.

        Raises:
            TypeError: neither, or a model of the other kind; or settings beside a loaded model.
        """
        self._kind: type[Model] = kind
        self._settings = settings
        self._model: Model | None = None
        if isinstance(model, kind):
            if given := [name for name, value in settings.items() if value is not None]:
                raise TypeError(f"{' and '.join(given)} cannot be given beside a loaded model; load it with them.")
            self._model, self._name = model, ""
        elif isinstance(model, str | os.PathLike):
            self._name = os.fspath(model)
        else:
            raise TypeError(
                f"model is of type {type(model).__name__}; a path, a name or {kind.__name__}.load(…) is needed."
            )

    def __call__(self) -> Model:
        """Returns the model; the first call loads it, and raises what ``load`` raises."""
        if self._model is None:
            key = (self._kind, self._name, *sorted(self._settings.items()))
            with _lock:
                found = _loaded.get(key)
                if found is None:
                    found = _loaded[key] = self._kind.load(self._name, **self._settings)
                self._model = found
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        if not self._name:
            raise TypeError("A model that was given loaded cannot be copied or pickled; give its path or name instead.")
        return {**self.__dict__, "_model": None}
