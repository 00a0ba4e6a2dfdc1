"""jaxtrends: small, fast, honest reruns of the headline claims of machine-learning trends."""

__version__ = "0.1.0"
