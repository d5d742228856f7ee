"""Makes the packages of this folder importable for tests, and configures hypothesis."""

from hypothesis import HealthCheck, settings

# No time limits: other load on the machine may slow a test down.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
