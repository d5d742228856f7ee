"""Figures for Prometheus: values with names and labels, their text format, and the port that serves them."""
