"""Token ids to rows: the seam (`Engine`), and what runs a model behind it on this machine.

An engine knows token ids; it knows no text, no prompts and no scores. Which sequences go into which call is decided
in batching, llama.cpp is driven in the folder llama alone, and whether its fast kernels are safe here is found out in
selfcheck.
"""

from .batching import common_prefix, unique
from .llama import MAX_INPUT_TOKENS, InputSquares, ggml_function, library, version
from .loading import free_memory, load_engine, needed_memory
from .machine import cache_folder, cpu_name, peak_rss, physical_cores
from .protocol import Accel, CacheType, Device, Engine, EngineOptions, OnProgress, Stepper, Token, TokenIds
from .selfcheck import accelerator_mode, extra_buffers
