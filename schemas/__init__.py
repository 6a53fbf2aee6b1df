"""What a record looks like: frozen values, their codecs, closed reasons, and one JSON Schema file per topic and version."""
