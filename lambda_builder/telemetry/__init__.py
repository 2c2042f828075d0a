"""Telemetry: metrics, traces and logs; knows what to say, not when."""
