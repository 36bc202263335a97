"""The proof that travels with a published image: signatures, statements, bill of materials, report.

What is said is decided by pure functions (facts, predicates, bom); only signing reads a key. No
model is opened here.
"""
