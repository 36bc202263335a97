"""`mopt serve`: KServe's own Python server over a form in a folder, opened as it was measured.

reading.py checks the folder; opening.py opens instances of the form; computing.py keeps them busy;
tensors.py is between the protocol and numpy; model.py and dataplane.py are what KServe calls.
__main__.py sets the environment that libraries read on import, and starts process.py.
"""
