"""What releases cost: ε by two accountants, checked by a third; all of the curve; choosing."""
