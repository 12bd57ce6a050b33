"""What people see of a sweep: its status, the live display, a trial watched or replayed."""
