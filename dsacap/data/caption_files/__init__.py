"""Files of captions in any form, read once and by one reader: predictions and references."""
