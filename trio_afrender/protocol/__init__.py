"""Messages between render and server: values, JSON frames, Afanasy's binary format. No I/O."""
