"""The report stage: an earlier measurement judged by other gates, and its page for people."""
