"""Words of questions and records, in English and Portuguese, and the sentences that answer."""
