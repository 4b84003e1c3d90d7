"""SWE-bench: instances, repositories, the two ways to ask a model for a patch (oracle, end-to-end), and their judging by the swebench harness."""
