"""A results root as tables: its parts on whatever storage, SQL over them, a guard before it, answers as text."""
