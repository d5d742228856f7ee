"""Real programs render small scenes through the agent, whole and broken on purpose: ``make renderers``.

The programs are in a folder of their own. The results are in docs/reports/renderers.md, and what the
programs print becomes test data.
"""
