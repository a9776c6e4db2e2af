"""The DVC stages: one module or package each; they meet only in files."""
