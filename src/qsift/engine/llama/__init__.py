"""llama.cpp: its library and its plug-in, a model's contexts, and the engine over them. The only door to llama_cpp.

Nothing here knows where a model's file comes from or what its rows mean.
"""

from .input_squares import MAX_INPUT_TOKENS, InputSquares
from .library import ggml_function, library, version
