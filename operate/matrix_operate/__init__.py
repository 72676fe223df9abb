"""What the workflows do: plan captures, collect and record them, report, raise an alarm."""
