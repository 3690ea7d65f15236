"""Do committed tables follow from their captions? `dsacap verify` scores the captions again.

committed.py   a committed table, and where its captions and data come from
scoring.py     the scores of one decoding's captions, computed in a process of its own and kept
comparison.py  computed cells against committed ones
run.py         the order of work, and what is printed
"""
