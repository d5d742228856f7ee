"""Bytes from outside, thrown at everything that decodes them: ``make fuzz``; the suite has a short one.

Whatever comes, the answer is a value or an error of ours that says what is wrong, within bounded time
and memory.
"""
