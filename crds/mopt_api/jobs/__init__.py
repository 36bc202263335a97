"""What the Jobs are told and what they return."""
