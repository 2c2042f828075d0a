"""The Kubernetes API: the only package that imports ``kubernetes``; its errors become ours here.

Objects are plain dicts, as the API sent them; nothing outside sees an exception of the client.
"""
