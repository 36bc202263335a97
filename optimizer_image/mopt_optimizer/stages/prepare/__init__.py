"""The prepare stage: export, verification and every form of reduced precision."""
