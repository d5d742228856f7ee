"""Small pictures of what tasks render, and looks at whether it can be right. No trio here.

Everything that reads images runs in a process of its own: by hand as ``python -m
trio_afrender.thumbnail IMAGE THUMB``, for an agent as the worker behind `task.painter`. The agent
itself imports neither OpenImageIO nor numpy.
"""
