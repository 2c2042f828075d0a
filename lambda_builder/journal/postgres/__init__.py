"""The journal that replicas share: a PostgreSQL database.

``store`` is the way in. A replica has a lease (``lease``), and each open build an owner: the lease
of the replica that works it off. ``moves`` changes owners. ``recording`` and ``outcomes`` are the
SQL of two lanes, each a connection with a ``Writer``: events that are accepted never wait for what
the workers write. Needs the extra ``[postgres]``.
"""
