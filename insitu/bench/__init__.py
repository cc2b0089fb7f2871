"""What the kernels cost on each core: exact instructions, modelled cycles, beside what they should.

Invariant: what is counted is what users' models run: every kernel is called by generated C.
"""
