"""Questions to a results root: SQL, figures, claims.  Never imports ray or torch."""
