"""The mopt API: what the user asks for, what Jobs are told and return, how a winner is chosen.

Pure: pydantic only, no I/O.
"""
