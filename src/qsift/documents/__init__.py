"""Files and folders to documents, documents to passages.

A file a format: each gives sections of readable text that know their lines. This room knows no models; what counts a
text's tokens is given to it.
"""

from .document import KINDS, Document, Kind, OnSkip, Section
from .files import find_documents, source_name
from .ignoring import IGNORE_FILES
from .passages import OnBatch, Passage, Splitter
