"""What qsift is measured beside: the peers, each a function that loads it, and the contest in which they take turns.

throughput.py, accelerator.py and cache_type.py are a choice of entrants and workloads each.
code_splitting.py takes only grammar.py.
"""
