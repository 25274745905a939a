"""Loaded first by the process that workers are forked from, and by no other: it then ends with its run.

Python lets such a process load modules, and call nothing.
"""

import sys

from corpuscle.core.lifeline import begin_forkserver

for _argument in sys.orig_argv:
    if "multiprocessing.forkserver" in _argument:
        begin_forkserver(_argument)
