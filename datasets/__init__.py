"""Vector files in and out, validation, exact truth and synthetic data.

``source`` opens any input, ``validate`` refuses what cannot be indexed, ``truth`` computes exact
neighbours, ``synthetic`` generates clustered data, ``writers`` writes vector files.
"""
