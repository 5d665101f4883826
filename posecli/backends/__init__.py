"""The contracts of our networks, kept by something else than torch."""
