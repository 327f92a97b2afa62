"""Numbers, names and formulas as text: one writer of each, for tables, derivations, pictures and pages."""
