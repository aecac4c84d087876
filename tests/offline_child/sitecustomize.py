"""Python imports this at its start where the folder is on PYTHONPATH: from then on the network is forbidden."""

import no_network

no_network.forbid()
