"""What every question uses: rows and the machine's line, turns, child processes, workloads, the command line.

Nothing here knows what is asked, nor the peers. Names are imported from the files, so that a child whose memory is
measured loads what it needs and no more.
"""
