"""The generated messages and stubs of the protocol ``pageann.v1``; ``make stubs`` writes them anew."""
