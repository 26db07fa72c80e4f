"""The feed: all events of a merchant's orders, oldest first, for services that must miss none.

An event is a row of `order_events` that was written in the statement of its step. Transactions do not commit in the
order in which they write, so a reader that remembers the newest event could skip one that commits later. Therefore
events are read in the order of their transaction ids, and only those below the id of the oldest transaction that runs:
no event can appear behind a position that was handed out (see `order.feed.store`).
"""
