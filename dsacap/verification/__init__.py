"""Verification that committed tables follow from their captions: `dsacap verify` scores them again.

committed.py   a committed table, and where its captions and data come from
scoring.py     the scores of one decoding's captions, computed in a separate process and cached
comparison.py  computed cells compared with committed ones
run.py         the order of work, and the printed report
"""
