"""Resource meters in a plugin process of their own, asked at their own intervals."""
