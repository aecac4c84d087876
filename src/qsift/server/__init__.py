"""The HTTP server: `qsift serve`, and `create_app` for those who bring their own. Needs the extra ``server``."""

from .app import create_app
from .error_responses import ProblemError
from .fields import ModelField, Shape
from .gate import Gate
from .lanes import EmbeddingLane, RerankLane
from .listening import bound_socket, port_file, unix_socket
from .log import log_to_stderr
from .names import Lanes
from .off_loop import json_response, off_loop
from .process import serve
from .request_bodies import described, read
from .settings import ServerOptions, is_loopback
from .waiting import unless_gone

__all__ = ["ServerOptions", "create_app", "serve"]
