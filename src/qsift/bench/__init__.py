"""What a model costs and how exact it is, measured on this machine: `qsift bench`, `qsift verify`, and the
card of a repository.

`qsift bench` runs each configuration in a child process of its own. This room loads models as a user does, and knows
nothing of how they run.
"""

from .published import published_results
from .publishing import prepare
from .rows import Row, cases
from .run import bench
from .verify import Check, check_finite, check_published, check_reference, open_reference
