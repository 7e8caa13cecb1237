"""Task, Config, Struct, gates and passes: no astronomy."""
