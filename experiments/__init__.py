"""The experiments: one file a paper, or a package where a paper needs several studies."""
