"""The Java behind METEOR and SPICE: its process, and the parser CoreNLP."""
