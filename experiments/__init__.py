"""The experiments, one package per paper."""
