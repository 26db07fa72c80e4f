"""The publisher: sends every event of the feed to a message broker, as CloudEvents.

`flask --app order publisher` runs it. It reads the feed of each merchant (`order.feed.store`) from the position that is
kept in the database, publishes the events, and moves the position when the broker has acknowledged them. So every event
arrives at least once. An event that is published again has the same id, and the broker discards it if it still knows
the id.

One publisher works at a time: it holds the lease of the row in `event_publisher`. A session advisory lock would not
work behind a pooler in transaction mode. Each move of a position names the lease's owner, so a publisher that has lost
the lease moves nothing.
"""
