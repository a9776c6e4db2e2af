"""Claims of the literature, each a file of conf/claim, judged by the cells at hand.

claim (the file) -> cells (which of params.yaml it speaks of) -> verdict.
"""
