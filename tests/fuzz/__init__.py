"""Wrong bytes for every decoder of data from outside: ``make fuzz``; the suite has a short run.

For any input a decoder must return a value, or raise one of the project's errors with a text,
within bounded time and memory.
"""
