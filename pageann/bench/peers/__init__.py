"""Other systems behind one small contract, each run in a process of its own.

``contract.py`` says what an adapter is, ``registry.py`` lists them, ``worker.py`` is the process that builds
or searches with one, and ``cap.py`` holds it to a memory limit.
"""
