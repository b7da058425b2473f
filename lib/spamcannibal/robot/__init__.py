"""Mail robot: signed spam reports in, listings with evidence out, an answer to the submitter."""
