"""Page: what the operations page shows, as values and as HTML.

Knows builds and counts; never Flask, never who asks, never how anything is found out.
"""
