"""The journal of one process: a SQLite file.

``store`` is the way in; ``committer`` writes batches, ``statements`` their SQL, ``database`` the
connections, ``known`` which events need no query, ``rebuild`` what is done with a damaged file,
``outbox`` the messages that leave with an outcome.
"""
