"""Models that measure nothing and are made here: random weights of the released shape, graphs of them, the self-check's.

The demo pair, which is trained, is made in demo/.
"""
