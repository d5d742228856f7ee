"""The harness that users' tests import."""
