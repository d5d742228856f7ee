"""One process tree behind one interface: start, output, signals, proof of the end, exit status.

The only package that knows how the platform does this, with `supervisor`, which it starts.
"""
