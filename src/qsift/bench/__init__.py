"""What a model costs and how exact it is, measured on this machine: `qsift bench`, and the card of a repository.

Each configuration runs in a child process of its own. This room loads models as a user does, and knows nothing of how
they run.
"""

from .publishing import prepare
from .rows import Row, cases
from .run import bench
