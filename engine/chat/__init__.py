"""Answer questions: session, comparison, export, diagnostics."""
