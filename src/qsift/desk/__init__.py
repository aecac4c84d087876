"""The desk: a page on this machine that searches files, compares texts, ranks documents and keeps indices.

It is a qsift server with a page, and with the files' endpoints where it was given files. It knows indices through
`qsift.search` and models through the server's lanes; it computes nothing itself. Needs the extra ``desk``.
"""

from .desk import Desk
from .opening import Opener
from .page import OPEN_PATHS
from .routes import desk_routers
from .shelf import Shelf

__all__ = ["OPEN_PATHS", "Desk", "Opener", "Shelf", "desk_routers"]
