"""The mopt API: what the user requests, the plans and results of Jobs, how a winner is chosen.

Pure: pydantic only, no I/O.
"""
