"""The circuits run: cycle by cycle in PyRTL, held against the exact arithmetic, over whole networks."""
