"""The exporters of torch: quiet, and with what they lack."""
