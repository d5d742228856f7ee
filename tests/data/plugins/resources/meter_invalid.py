"""Has nothing to measure."""

from resmeters import resbase


class meter_invalid(resbase.resbase):
    pass
