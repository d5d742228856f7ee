"""Rounds of faults against a real agent: awkward processes, stops, bad links, a farm that dies.

``make chaos`` runs any number of rounds; the test suite runs a few.
"""
