"""`mopt gc`: what in an output store nothing names any more.

graph: which objects stay and which go, in which order. live: what the resources name. Both pure.
sweeping: reads the store, and removes.
"""
