"""What a record looks like: frozen values, codecs, closed reasons, one JSON Schema file per topic and version."""
