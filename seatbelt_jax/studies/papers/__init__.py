"""The papers' figures and claims, drawn from the tables of studies."""
