"""Finding people: detection, tracking, masks, and regions in which a person may have been missed."""
