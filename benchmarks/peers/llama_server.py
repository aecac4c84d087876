"""xllamacpp's server: llama.cpp's own, with the settings that its documentation gives for embedding and reranking.

python -m peers.llama_server MODEL.gguf THREADS      (as server.py runs it; it ends with its input)
"""

from __future__ import annotations

import sys
from typing import Any


def server(path: str, threads: int, *, rerank: bool = False, extra_buffers: bool = True) -> Any:
    """Returns it running: 32 sequences share a cache of 16,384 tokens, as many tokens a call as it takes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.embedding = True
    kinds = xllamacpp.llama_pooling_type
    params.pooling_type = kinds.LLAMA_POOLING_TYPE_RANK if rerank else kinds.LLAMA_POOLING_TYPE_LAST
    params.n_ctx, params.n_batch, params.n_ubatch = 16384, 2048, 2048
    params.n_parallel = 32
    params.kv_unified = True
    params.no_extra_bufts = not extra_buffers
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port, params.verbosity = 0, 0
    return xllamacpp.Server(params)


def main() -> None:
    """Serves until the input ends."""
    running = server(sys.argv[1], int(sys.argv[2]))
    print(f"port {running.listening_address.rpartition(':')[2]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
