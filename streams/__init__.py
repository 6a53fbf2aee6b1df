"""Where records come from and go to: settings, sockets, Kafka, clocks, the steps and the command line."""
