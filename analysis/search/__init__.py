"""What came of a search, as numbers: front, history, rungs, importance of the knobs.  Of each its typed info and table.

Found (trials and what they are worth) -> an info -> Root.search(...).front() …, and the painters of figures/search/
"""
