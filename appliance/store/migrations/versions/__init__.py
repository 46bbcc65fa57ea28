"""The schema's versions. Released ones never change; new ones only expand or contract, never rewrite a table."""
