"""Models that are made here: random weights of the released shape, graphs of them, and the self-check's.

Nothing is measured here. The demo pair, which is trained, is made in demo/.
"""
