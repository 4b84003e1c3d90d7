"""Math benchmarks: ``run`` is the file to start reading in."""
