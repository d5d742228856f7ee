# -*- coding: utf-8 -*-
# mypy: ignore-errors

import cgruconfig

from resources import resbase


class lumen_licences(resbase.resbase):
    """Free licences of Lumen"""

    def __init__(self):
        resbase.resbase.__init__(self)
        self.valuemax = cgruconfig.VARS.get("lumen_licences", 4)
        self.valid = True

    def update(self):
        self.value = 1
        self.label = "%d/%d" % (self.value, self.valuemax)
