"""What the Jobs do, one package per stage: a plan in, a result in the store out."""
