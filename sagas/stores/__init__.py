"""Back ends of the ``Store`` port: SQLite in one file, MongoDB for real deployments."""
