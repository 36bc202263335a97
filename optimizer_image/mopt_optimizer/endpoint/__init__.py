"""`mopt verify-endpoint`: whether a server of the Open Inference Protocol v2 answers as measured.

http.py and grpc.py ask it; process.py lets it take part in a comparison as a variant's process
does; verifying.py compares it with the source model on this machine; verdict.py says what holds.
"""
