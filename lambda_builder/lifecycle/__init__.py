"""What follows for Jobs that exist: states, diagnoses, the cap on active ones, notifications."""
