"""Tables, claims, plots, citations and the page of captions, all made from result files."""
