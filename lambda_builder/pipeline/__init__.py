"""The way of a build: accepted, queued, attempted, told.

``queue``, ``ordering`` and ``pool`` know nothing of builds: another project could take them.
"""
