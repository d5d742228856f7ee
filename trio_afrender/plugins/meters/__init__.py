"""Resource meters, measured one after another in a plugin process of their own."""
