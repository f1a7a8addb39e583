"""The supervision policy: pure state and decisions, no process and no clock of its own."""
