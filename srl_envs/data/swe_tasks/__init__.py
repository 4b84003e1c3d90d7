"""The built-in software-engineering tasks: what they are, how an expert solved them, and what was recorded when he did."""
