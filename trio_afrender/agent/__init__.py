"""One render: session, dispatcher, outbox."""
