"""Speed under load: MLPerf's LoadGen asks, instances of a model answer, a search finds the best.

search.py decides what is tried and rules.py when a trial counts (both Pure); worker.py is the
process that opens the model and is asked by LoadGen (loadgen.py), through a queue (batching.py).
docs/load.md says what is measured.
"""
