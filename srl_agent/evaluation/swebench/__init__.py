"""SWE-bench Verified: patches written in oracle or end-to-end mode, judged by the real harness."""
