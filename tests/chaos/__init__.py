"""Rounds of trouble for a real agent: awkward processes, stops, bad links, a farm that goes away.

``python -m chaos`` (``make chaos``) runs as many rounds as wanted; the suite runs a few.
"""
