"""Makes the modules of this folder importable by the tests below it, and sets hypothesis up."""

from hypothesis import HealthCheck, settings

# No test is timed: the machine may be busy with anything.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
