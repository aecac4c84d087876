"""The HTTP server: `qsift serve`, and `create_app` for those who bring their own. Needs the extra ``server``."""

from .app import create_app
from .listening import bound_socket, port_file, unix_socket
from .log import log_to_stderr
from .process import serve
from .settings import ServerOptions, is_loopback

__all__ = ["ServerOptions", "create_app", "serve"]
