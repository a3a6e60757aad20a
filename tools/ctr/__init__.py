"""A small click model over interest units: events and negatives, features, network, report."""
